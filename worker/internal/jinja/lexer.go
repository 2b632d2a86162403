package jinja

import (
	"fmt"
	"regexp"
	"strings"
)

type tokenKind int

const (
	tokenText tokenKind = iota // between tags
	tokenPrintBegin
	tokenPrintEnd
	tokenTagBegin
	tokenTagEnd
	tokenName
	tokenString // without quotes, escapes still in it
	tokenInteger
	tokenFloat
	tokenOperator
	tokenEnd
)

type token struct {
	kind tokenKind
	text string
	line int
}

// The patterns of Jinja2's lexer with trim_blocks: the newline after a tag or a comment belongs to it.
var (
	newlines    = regexp.MustCompile(`\r\n|\r`)
	tagStart    = regexp.MustCompile(`\{([%{#])`)
	rawBegin    = regexp.MustCompile(`^\{%[-+]?\s*raw\s*(?:-%\}\s*|%\})`)
	rawEnd      = regexp.MustCompile(`\{%([-+]?)\s*endraw\s*(?:\+%\}|-%\}\s*|%\}\n?)`)
	commentEnd  = regexp.MustCompile(`\+#\}|-#\}\s*|#\}\n?`)
	tagEnd      = regexp.MustCompile(`^(?:\+%\}|-%\}\s*|%\}\n?)`)
	printEnd    = regexp.MustCompile(`^(?:-\}\}\s*|\}\})`)
	spaces      = regexp.MustCompile(`^\s+`)
	floats      = regexp.MustCompile(`^(?:(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?[eE][+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+))`)
	integers    = regexp.MustCompile(`^(?:0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[0-9a-fA-F])+|[1-9](?:_?\d)*|0(?:_?0)*)`)
	names       = regexp.MustCompile(`^[\pL\pN_]+`)
	stringsRE   = regexp.MustCompile(`^(?s:'([^'\\]*(?:\\.[^'\\]*)*)'|"([^"\\]*(?:\\.[^"\\]*)*)")`)
	operators   = regexp.MustCompile(`^(?://|\*\*|==|!=|>=|<=|[-+/*%~\[\]().:|,;={}<>])`)
	onlyBlanks  = regexp.MustCompile(`^\s+$`)
	closingPair = map[string]string{")": "(", "]": "[", "}": "{"}
)

// lexer cuts a template into tokens.
type lexer struct {
	source string
	at     int
	line   int
	tokens []token
}

// lex reads a whole template. Its last token has the kind tokenEnd.
func lex(source string) ([]token, error) {
	source = strings.TrimSuffix(newlines.ReplaceAllString(source, "\n"), "\n")
	l := &lexer{source: source, line: 1}
	for l.at < len(source) {
		if err := l.text(); err != nil {
			return nil, err
		}
	}
	l.add(tokenEnd, "")
	return l.tokens, nil
}

func (l *lexer) add(kind tokenKind, text string) {
	l.tokens = append(l.tokens, token{kind: kind, text: text, line: l.line})
}

// skip goes n bytes on.
func (l *lexer) skip(n int) {
	l.line += strings.Count(l.source[l.at:l.at+n], "\n")
	l.at += n
}

// lineStarts tells whether what was read last ended a line: white space before a tag is removed there.
func (l *lexer) lineStarts() bool { return l.at == 0 || l.source[l.at-1] == '\n' }

// text reads up to the next tag, and the tag.
func (l *lexer) text() error {
	rest := l.source[l.at:]
	found := tagStart.FindStringIndex(rest)
	if found == nil {
		l.add(tokenText, rest)
		l.skip(len(rest))
		return nil
	}
	kind := rest[found[0]+1]
	sign := byte(0)
	if found[1] < len(rest) {
		sign = rest[found[1]]
	}
	l.addText(rest[:found[0]], sign, kind != '{')
	l.skip(found[0])
	if kind == '%' {
		if raw := rawBegin.FindString(l.source[l.at:]); raw != "" {
			l.skip(len(raw))
			return l.raw()
		}
	}
	length := 2
	if sign == '-' || sign == '+' {
		length++
	}
	l.skip(length)
	switch kind {
	case '#':
		end := commentEnd.FindStringIndex(l.source[l.at:])
		if end == nil {
			return fmt.Errorf("line %d: a comment has no end", l.line)
		}
		l.skip(end[1])
		return nil
	case '%':
		l.add(tokenTagBegin, "")
		return l.inside(tagEnd, tokenTagEnd)
	}
	l.add(tokenPrintBegin, "")
	return l.inside(printEnd, tokenPrintEnd)
}

// addText adds text before a tag whose opening has a sign; lstrip_blocks removes blanks before statements and comments.
func (l *lexer) addText(text string, sign byte, strips bool) {
	switch {
	case sign == '-':
		text = strings.TrimRightFunc(text, isSpace)
	case sign != '+' && strips:
		lineStart := strings.LastIndexByte(text, '\n') + 1
		if (lineStart > 0 || l.lineStarts()) && onlyBlanks.MatchString(text[lineStart:]) {
			text = text[:lineStart]
		}
	}
	if text != "" {
		l.add(tokenText, text)
	}
}

// raw reads text up to endraw.
func (l *lexer) raw() error {
	rest := l.source[l.at:]
	end := rawEnd.FindStringSubmatchIndex(rest)
	if end == nil {
		return fmt.Errorf("line %d: raw has no endraw", l.line)
	}
	sign := byte(0)
	if end[2] < end[3] {
		sign = rest[end[2]]
	}
	l.addText(rest[:end[0]], sign, true)
	l.skip(end[1])
	return nil
}

// inside reads the tokens of a tag and its end.
func (l *lexer) inside(end *regexp.Regexp, endKind tokenKind) error {
	var open []string
	for l.at < len(l.source) {
		rest := l.source[l.at:]
		if ending := end.FindString(rest); ending != "" && len(open) == 0 {
			l.skip(len(ending))
			l.add(endKind, "")
			return nil
		}
		if err := l.tokenInside(rest, &open); err != nil {
			return err
		}
	}
	return fmt.Errorf("line %d: a tag has no end", l.line)
}

func (l *lexer) tokenInside(rest string, open *[]string) error {
	if blanks := spaces.FindString(rest); blanks != "" {
		l.skip(len(blanks))
		return nil
	}
	for _, rule := range []struct {
		pattern *regexp.Regexp
		kind    tokenKind
	}{{floats, tokenFloat}, {integers, tokenInteger}, {names, tokenName}} {
		if found := rule.pattern.FindString(rest); found != "" {
			l.add(rule.kind, found)
			l.skip(len(found))
			return nil
		}
	}
	if found := stringsRE.FindString(rest); found != "" {
		l.add(tokenString, found[1:len(found)-1])
		l.skip(len(found))
		return nil
	}
	operator := operators.FindString(rest)
	switch operator {
	case "":
		return fmt.Errorf("line %d: unexpected %.10q", l.line, rest)
	case "(", "[", "{":
		*open = append(*open, operator)
	case ")", "]", "}":
		last := len(*open) - 1
		if last < 0 || (*open)[last] != closingPair[operator] {
			return fmt.Errorf("line %d: unexpected %q", l.line, operator)
		}
		*open = (*open)[:last]
	}
	l.add(tokenOperator, operator)
	l.skip(len(operator))
	return nil
}
