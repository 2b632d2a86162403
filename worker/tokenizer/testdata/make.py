"""Makes the vocabularies and expected ids of the tokenizer tests with Hugging Face tokenizers and SentencePiece.

    pip install tokenizers==0.21.4 sentencepiece==0.2.1
    python make.py [FOLDER with Llama 3.2's encoder.json and vocab.bpe]

Writes bpe.json (a small tokenizer.json), spm.json (a small SentencePiece vocabulary) and goldens.json (ids that the two
libraries give). Without the folder the goldens on Llama's vocabulary are left as they are in goldens.json.
"""

import io
import json
import sys
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).parent
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + REST

CORPUS = [
    "A gate is passed when every requirement has been shown to hold by a run that anybody can repeat.",
    "The tokenizer reads the text from left to right, the pairs it merges are those it has seen most often.",
    "Tokens are counted, cached and streamed; the counted tokens are those that the model has read.",
    "It's what they've said: we're late, I'd wait, she'll read, I'm here, don't you?",
    "for i := range tokens {\n\tif tokens[i] == end {\n\t\treturn i\n\t}\n}\n",
    "In 1984 there were 12345 readers, in 2024 there are 67890.",
    "Über die Größe der Wörter: ä, ö, ü und ß. Élève, garçon, naïve, Ωμέγα, привет мир, 東京の雨.",
]

TEXTS = [
    "", " ", "  ", "\n", "\n\n\n", "\t", " \n ", "  \n\n  \t x", "The tokens are counted.", " The tokens", "tokens tokens  tokens   tokens",
    "It's IT'S we'RE 'tis they'vex o'clock 'S", "1", "12", "123", "1234567890", "a1b22c333d4444", "x² + ½ = Ⅷ ٣٤٥",
    "!!! ... --- ?!?\n;;;\r\n\r\nend", "Über naïve Größe", "東京の雨 привет мир", "café cafe\u0301", "🙂👩‍👩‍👧‍👦🏳️‍🌈", "a\u00a0b\u2003c\u3000d\u2028e\u0085f",
    "\u200b\u200bzero\u200bwidth", "func f() {\n\treturn 1\n}\n", "trailing   ", "   leading", "\r\n\r\n", "a\r\nb\rc\n", "\u0000\u0001\u007f",
    "<|im_end|> as text", "mixed\tspaces \t \n\t here", "éèêë ñ ç", "𝕳𝖊𝖑𝖑𝖔", "ＡＢＣ１２３", "'", "''", "'s", " 's", "İstanbul ǅ ŉ", "\ufeffbom",
    "'ſ it'ſ", "word" * 40, "aaaa" * 20,
]

SPECIAL_TEXTS = [
    "<|im_start|>user\nThe tokens<|im_end|>\n<|im_start|>assistant\n", "a<|endoftext|>b", "<|im_end|><|im_end|>", "<|im_start|", " <|im_end|> ",
]


def byte_level(split: str) -> pre_tokenizers.PreTokenizer:
    """Returns a splitter by an expression, followed by the byte-level alphabet."""
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(split), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def train_bpe() -> Tokenizer:
    """Returns a byte-level BPE tokenizer of 523 tokens (the corpus gives no more), 3 of them control tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = byte_level(QWEN2)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def train_spm() -> sentencepiece.SentencePieceProcessor:
    """Returns a SentencePiece BPE model of 500 tokens with byte fallback, normalization as for Llama 2."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, model_type="bpe", vocab_size=500, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, split_digits=True,
        character_coverage=0.98, minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def spm_vocabulary(spm: sentencepiece.SentencePieceProcessor) -> dict:
    """Returns names, scores and types (numbered as in GGUF) of the tokens."""
    ids = range(spm.get_piece_size())
    kind = lambda i: 2 if spm.is_unknown(i) else 3 if spm.is_control(i) else 6 if spm.is_byte(i) else 1  # noqa: E731
    return {
        "tokens": [spm.id_to_piece(i) for i in ids],
        "scores": [spm.get_score(i) for i in ids],
        "types": [kind(i) for i in ids],
    }


def llama_goldens(folder: Path) -> dict:
    """Returns the ids that Llama 3.2's vocabulary gives under each splitting expression."""
    merges = [tuple(line.split(" ")) for line in (folder / "vocab.bpe").read_text(encoding="utf-8").splitlines() if line]
    model = {"vocab": json.loads((folder / "encoder.json").read_text(encoding="utf-8")), "merges": merges}
    splits = {
        "llama-bpe": (byte_level(LLAMA3), True),
        "qwen2": (byte_level(QWEN2), False),
        "gpt-2": (pre_tokenizers.ByteLevel(add_prefix_space=False), False),
        "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]), False),
    }
    goldens = {}
    for name, (split, ignore_merges) in splits.items():
        tokenizer = Tokenizer(models.BPE(**model, ignore_merges=ignore_merges))
        tokenizer.pre_tokenizer = split
        goldens[name] = [tokenizer.encode(text).ids for text in TEXTS]
    return goldens


def main() -> None:
    """Writes the three files."""
    bpe, spm = train_bpe(), train_spm()
    bpe.save(str(HERE / "bpe.json"))
    (HERE / "spm.json").write_text(json.dumps(spm_vocabulary(spm), ensure_ascii=False) + "\n", encoding="utf-8")
    path = HERE / "goldens.json"
    goldens = {
        "texts": TEXTS,
        "special_texts": SPECIAL_TEXTS,
        "bpe": [bpe.encode(text).ids if "<|" not in text else None for text in TEXTS],
        "bpe_special": [bpe.encode(text).ids for text in SPECIAL_TEXTS],
        "spm": [spm.encode(text) for text in TEXTS],
        "llama": llama_goldens(Path(sys.argv[1])) if len(sys.argv) > 1 else json.loads(path.read_text(encoding="utf-8"))["llama"],
    }
    path.write_text(json.dumps(goldens, ensure_ascii=True, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
