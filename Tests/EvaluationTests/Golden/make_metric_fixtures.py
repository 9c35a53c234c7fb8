"""Computes the expected values of the metric tests with the reference programs.

Run with sacrebleu 2.6.0, rouge_score 0.1.2 and nltk 3.10.4 installed:

    MNEME_DATA=DATA python3 Tests/EvaluationTests/Golden/make_metric_fixtures.py

writes, beside this script:
    metrics.json          sentences of our own with BLEU, chrF and ROUGE
    porter-stems.tsv      words of the corpora in MNEME_DATA and their stems, every k-th of the sorted vocabulary
    realsumm-rouge.tsv    ROUGE of the 1,400 REALSumm summaries, in units of 1e-8

`--vocabulary FILE` writes all words and stems to FILE as well.
"""

import gzip
import json
import os
import pathlib
import re
import sys

from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU, CHRF

HERE = pathlib.Path(__file__).parent
DATA = pathlib.Path(os.environ["MNEME_DATA"])
ROUGE_TYPES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
STEM_SAMPLE = 4000

# Hypotheses, then reference sets. Chosen for what trips tokenizers: entities, runs of points, digits beside hyphens and
# commas, white space outside ASCII, letters whose case mapping is irregular, empty segments.
SEGMENTS = [
    ("The cat sat on the mat.", ["The cat sat on a mat.", "On the mat sat the cat."]),
    ("It costs 1,000.50 dollars, or 3-4 pounds...", ["It costs 1,000.50 dollars or 3-4 pounds.", "The price is $1,000.50, i.e. 3 - 4 pounds..."]),
    ("&quot;Yes&quot; &amp; &lt;no&gt; &amp;lt; she said", ["\"Yes\" & <no> &lt; she said", "'Yes' and 'no', she said"]),
    ("a.b.c,,,d....e -5 5- 1-2-3 .5 5. ,x", ["a.b.c,,,d....e -5 5- 1-2-3 .5 5. ,x", "a. b. c, , , d.... e - 5 5 - 1 - 2 - 3 .5 5. , x"]),
    ("Der Fluß fließt über die Brücke – schön, nicht?", ["Der Fluss fließt unter der Brücke – schön, oder?", "Schön fließt der Fluß über Brücken."]),
    ("no\u00a0break\u2003em\u3000ideographic\u200bzero", ["no break em ideographic zero", "no\u00a0break em\u3000ideographic\u200bzero"]),
    ("ΟΔΥΣΣΕΥΣ ΣΑΣ Σ αΣ", ["Οδυσσευς σας σ ας", "οδυσσεύς σάς Σ ΑΣ"]),
    ("\u0130stanbul 300\u212a cafe\u0301 café", ["istanbul 300k café cafe\u0301", "Istanbul 300K cafe cafe"]),
    ("emoji 🙂🙃 and 漢字 mixed", ["emoji 🙂 🙃 and 漢 字 mixed", "emojis 🙂🙃 with 漢字, mixed"]),
    ("", ["", "nothing was said"]),
    ("word", ["", "word"]),
    ("   leading and trailing   \t", ["leading and trailing", "Leading, and trailing!"]),
    ("<skipped>text with <skipped> marks [brackets] {braces} (parentheses) ~tilde~ `tick` ^caret^ _low_ back\\slash",
     ["text with marks [brackets] {braces} (parentheses) ~tilde~ `tick` ^caret^ _low_ back\\slash", "marks"]),
    ("(hi) \"quoted\" it's o'clock - twenty-one; a/b: c@d = #1 $2 %3 *4 +5 !?", ["(hi) 'quoted' its oclock twenty one a/b c@d #1 $2 %3 *4 +5 ?!", "hi quoted"]),
]

SUBSETS = {
    "all": list(range(len(SEGMENTS))),
    "first": [0],
    "prices": [1],
    "no four-gram": [5, 6],
    "no match": [9],
    "short": [10],
    "half": list(range(0, len(SEGMENTS), 2)),
}

SUMMARIES = [
    ("Police have arrested five fans at the derby.\nThe match began late in the afternoon.\nOfficials were satisfied.",
     "The late afternoon match saw 34 fans arrested.\nPolice officials said they were satisfied with the derby."),
    ("one two three four five\nsix seven eight", "two one four three\neight seven six five one two"),
    ("", "something was predicted"), ("something was expected", ""), ("...", "!!"), ("the the the the", "the the\nthe"),
    ("running runner runs easily fairness flies died skies", "run ran runners easy fairly fly die sky"),
    ("\u0130stanbul at 300\u212a: naïve café co-operation, U.S. 1990s", "istanbul 300k na ve caf cooperation us 1990"),
    ("a b c d a b c d\n\n  \nb c d a", "d c b a\na b c d\n"),
]


def bleu_cases():
    for name, indices in SUBSETS.items():
        for reference_count in (1, 2):
            hypotheses = [SEGMENTS[i][0] for i in indices]
            references = [[SEGMENTS[i][1][r] for i in indices] for r in range(reference_count)]
            case = {"name": f"{name}, {reference_count} references", "hypotheses": hypotheses, "references": references, "bleu": [], "chrf": []}
            for tokenizer in ("13a", "none", "char"):
                for lowercase in (False, True):
                    for effective in (False, True):
                        metric = BLEU(tokenize=tokenizer, lowercase=lowercase, effective_order=effective)
                        score = metric.corpus_score(hypotheses, references)
                        case["bleu"].append({
                            "tokenizer": tokenizer, "lowercase": lowercase, "effective": effective, "score": score.score,
                            "precisions": score.precisions, "brevity": score.bp, "hypothesisLength": score.sys_len,
                            "referenceLength": score.ref_len, "matches": score.counts, "totals": score.totals,
                            "line": str(score).split(" = ", 1)[1].split(" ", 1)[1],
                            "signature": str(metric.get_signature()).rsplit("|", 1)[0]})
            for word_order in (0, 1, 2):
                for lowercase in (False, True):
                    for beta in (1, 2):
                        metric = CHRF(word_order=word_order, lowercase=lowercase, beta=beta)
                        score = metric.corpus_score(hypotheses, references)
                        case["chrf"].append({
                            "wordOrder": word_order, "lowercase": lowercase, "beta": beta, "score": score.score, "name": score.name,
                            "signature": str(metric.get_signature()).rsplit("|", 1)[0]})
            yield case


def rouge_cases():
    for stemmer in (True, False):
        scorer = rouge_scorer.RougeScorer(ROUGE_TYPES, use_stemmer=stemmer)
        for index, (reference, prediction) in enumerate(SUMMARIES):
            other = SUMMARIES[index - 1][0]
            single = scorer.score(reference, prediction)
            multiple = scorer.score_multi([reference, other], prediction)
            yield {"reference": reference, "other": other, "prediction": prediction, "stemmer": stemmer,
                   "single": [list(single[t]) for t in ROUGE_TYPES], "multiple": [list(multiple[t]) for t in ROUGE_TYPES]}


def vocabulary():
    words = set()
    for path in sorted(DATA.rglob("*")):
        if not path.is_file() or path.suffix in {".md", ".tar", ".tgz"} or ".tar." in path.name:
            continue
        opened = gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")
        with opened as file:
            text = file.read().decode("utf-8", errors="ignore").lower()
        words.update(w for w in re.split(r"[^a-z0-9]+", text) if 3 < len(w) <= 40)
    return sorted(words)


def write_stems():
    stemmer = PorterStemmer()
    words = vocabulary()
    pairs = [f"{word}\t{stemmer.stem(word)}\n" for word in words]
    if "--vocabulary" in sys.argv:
        pathlib.Path(sys.argv[sys.argv.index("--vocabulary") + 1]).write_text("".join(pairs))
    letters = [pair for word, pair in zip(words, pairs) if word.isalpha() and len(word) <= 20]
    step = max(1, len(letters) // STEM_SAMPLE)
    irregular = "skies sky dying lying tying news innings inning outings outing cannings canning howe proceed exceed succeed".split()
    endings = "ational tional enci anci izer bli alli entli eli ousli ization ation ator alism iveness fulness ousness aliti iviti biliti fulli logi " \
        "icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement ment ent ion sion tion ou ism ate iti ous ive ize e ll " \
        "sses ies ss s ied eed ed ing y yy ated bled ized hopping falling hissing fizzed filing".split()
    made = [stem + ending for stem in ["", "b", "ab", "tr", "tree", "day", "syzyg", "gener", "contr", "oper", "yyy", "7x"] for ending in endings]
    extra = [f"{word}\t{stemmer.stem(word)}\n" for word in irregular + made if word]
    (HERE / "porter-stems.tsv").write_text("".join(sorted(set(letters[::step] + extra))))


def write_realsumm():
    with gzip.open(DATA / "reference/realsumm-rouge/abs.json.gz", "rt") as file:
        documents = json.load(file)
    scorer = rouge_scorer.RougeScorer(ROUGE_TYPES, use_stemmer=True)

    def sentences(text):
        return text.replace("<t>", "").replace("</t>", "\n")

    with open(HERE / "realsumm-rouge.tsv", "w") as output:
        for document in sorted(documents, key=int):
            for system in sorted(documents[document]["system_summaries"]):
                summary = documents[document]["system_summaries"][system]["system_summary"]
                scores = scorer.score(sentences(documents[document]["ref_summ"]), sentences(summary))
                values = [str(round(value * 1e8)) for name in ROUGE_TYPES for value in scores[name]]
                output.write("\t".join(values) + "\n")


if __name__ == "__main__":
    golden = {"bleu": list(bleu_cases()), "rouge": list(rouge_cases())}
    (HERE / "metrics.json").write_text(json.dumps(golden, ensure_ascii=False, indent=0) + "\n")
    write_stems()
    write_realsumm()
