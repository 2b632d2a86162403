package api

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"touchstone/worker/internal/problem"
)

// Origins are the web pages that may call the worker from a browser, besides its own page.
type Origins struct {
	Any      bool
	Loopback bool     // pages served by this machine to itself, whatever their port
	Listed   []string // such as "https://chat.example"
	Host     string   // the name that the worker listens on; its own page may be called by it
}

// ParseOrigins reads "none", "loopback", "*" or a list of origins separated by commas.
func ParseOrigins(text string) (Origins, error) {
	switch text {
	case "none":
		return Origins{}, nil
	case "loopback":
		return Origins{Loopback: true}, nil
	case "*":
		return Origins{Any: true}, nil
	}
	var o Origins
	for _, origin := range strings.Split(text, ",") {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || origin != u.Scheme+"://"+u.Host {
			return Origins{}, fmt.Errorf("must be none, loopback, * or origins such as https://chat.example, not %q", origin)
		}
		o.Listed = append(o.Listed, origin)
	}
	return o, nil
}

// allows tells whether pages of an origin may call the worker.
func (o Origins) allows(origin string) bool {
	if o.Any || slices.Contains(o.Listed, origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && o.Loopback && isLoopback(u.Hostname())
}

// isOwn tells whether a page is the worker's own: from the host that it calls. The host must be an address or a name that is
// known to be the worker's, because an attacker's name may be made to lead here (DNS rebinding).
func (o Origins) isOwn(origin, host string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.Host != host {
		return false
	}
	name := hostName(host)
	_, notAddress := netip.ParseAddr(name)
	return notAddress == nil || isLoopback(name) || name == o.Host
}

func isLoopback(name string) bool {
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	address, err := netip.ParseAddr(name)
	return err == nil && address.IsLoopback()
}

// hostName is a Host header without its port and brackets.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

// shutdownPath is kept from all web pages but the worker's own.
const shutdownPath = "/shutdown"

// withOrigin keeps web pages that are not allowed from changing anything, and tells browsers which are. What is no browser
// sends no Origin.
func (s *Server) withOrigin(next http.Handler) http.Handler {
	origins := s.options.Origins
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		w.Header().Add("Vary", "Origin")
		if origin == "" {
			next.ServeHTTP(w, r)
			return
		}
		allowed := origins.allows(origin)
		if allowed {
			w.Header().Set("Access-Control-Allow-Origin", origin)
			w.Header().Set("Access-Control-Expose-Headers", correlationHeader+", Retry-After")
		}
		preflight := r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
		reading := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
		switch {
		case allowed && preflight:
			w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD, POST")
			if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
				w.Header().Set("Access-Control-Allow-Headers", asked)
			}
			w.Header().Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
		case reading || origins.isOwn(origin, r.Host) || allowed && r.URL.Path != shutdownPath:
			next.ServeHTTP(w, r)
		default:
			s.refuse(w, r, problem.New(problem.Forbidden, "web pages of %s may not call this; --cors-origin says which may", shorten(origin)))
		}
	})
}
