"""Find people, places and dates in the paragraphs of a text: two functions, with a queue between them.

The first function loads a text and cuts it into paragraphs; the child function `enrich` finds the entities in each and
writes them to a stream, here a file of JSON lines that OUTPUT_STREAM names. Run it to process the first page of "A
Scandal in Bohemia" (Arthur Conan Doyle, 1891), or serve it: `penstock serve examples/nlp/nlp.py`, then

    curl localhost:8080 -d '{"url": "examples/nlp/holmes.txt"}'

which answers at once; the entities are found while you read the answer.
"""

import os
import tempfile
from pathlib import Path

import fsspec
import penstock as mlrun

TEXT = Path(__file__).with_name("holmes.txt")
internal_stream = os.environ.get("INTERNAL_STREAM", "memory://paragraphs")
out_stream = os.environ.get("OUTPUT_STREAM") or os.path.join(tempfile.gettempdir(), "penstock-nlp.jsonl")

PATTERNS = {
    "PERSON": ["Sherlock Holmes", "Holmes", "Irene Adler", "Trepoff", "Atkinson"],
    "GPE": ["Odessa", "Trincomalee", "Holland"],
    "FAC": ["Baker Street"],
    "WORK_OF_ART": ["Study in Scarlet"],
    "DATE": [[{"LOWER": "twentieth"}, {"LOWER": "of"}, {"LOWER": "march"}, {"TEXT": ","}, {"SHAPE": "dddd"}]],
}
MEANINGS = {
    "PERSON": "somebody",
    "GPE": "a city or country",
    "FAC": "a street or building",
    "WORK_OF_ART": "a book",
    "DATE": "a day",
}


def load_url(body):
    """Read the text of a file or URL."""
    with fsspec.open(body["url"], "rt", encoding="utf-8") as file:
        return {"url": body["url"], "text": file.read()}


def to_paragraphs(body):
    """Cut the text at empty lines."""
    texts = [" ".join(part.split()) for part in body["text"].split("\n\n")]
    return [{"url": body["url"], "paragraph": number, "text": text} for number, text in enumerate(texts, 1) if text]


class ApplyNLP:
    """Let spaCy read a paragraph; its entity ruler finds what PATTERNS say, without a model to download."""

    def __init__(self):
        import spacy

        self.nlp = spacy.blank("en")
        ruler = self.nlp.add_pipe("entity_ruler")
        ruler.add_patterns(
            [{"label": label, "pattern": pattern} for label, patterns in PATTERNS.items() for pattern in patterns]
        )

    def do(self, paragraph):
        """Add the document that spaCy made of the text."""
        return paragraph | {"doc": self.nlp(paragraph["text"])}


def extract_entities(paragraph):
    """Make a list of the entities of a paragraph."""
    return [
        {"paragraph": paragraph["paragraph"], "text": entity.text, "label": entity.label_, "at": entity.start_char}
        for entity in paragraph["doc"].ents
    ]


def enrich_entities(entities):
    """Say what the labels mean."""
    return [entity | {"meaning": MEANINGS[entity["label"]]} for entity in entities]


def myprint(entity, context):
    """Log an entity and hand it on."""
    context.logger.info(f"{entity['text']} is {entity['meaning']}")
    return entity


# define a new real-time serving function (from code) with an async graph
fn = mlrun.code_to_function("multi-func", filename="", kind="serving", image="mlrun/mlrun")
graph = fn.set_topology("flow", engine="async")

# define the graph steps (DAG)
graph.to(name="load_url", handler="load_url")\
     .to(name="to_paragraphs", handler="to_paragraphs")\
     .to("storey.FlatMap", "flatten_paragraphs", _fn="(event)")\
     .to(">>", "q1", path=internal_stream)\
     .to(name="nlp", class_name="ApplyNLP", function="enrich")\
     .to(name="extract_entities", handler="extract_entities", function="enrich")\
     .to(name="enrich_entities", handler="enrich_entities", function="enrich")\
     .to("storey.FlatMap", "flatten_entities", _fn="(event)", function="enrich")\
     .to(name="printer", handler="myprint", function="enrich")\
     .to(">>", "output_stream", path=out_stream)  # fmt: skip

# specify the "enrich" child function, add extra package requirements
child = fn.add_child_function("enrich", "./", "mlrun/mlrun")
child.spec.build.commands = ["python -m pip install spacy"]

if __name__ == "__main__":
    with fn.to_mock_server() as server:
        print(server.test(body={"url": str(TEXT)}))
    print(f"the entities are in {out_stream}:")
    print(Path(out_stream).read_text(encoding="utf-8"), end="")
