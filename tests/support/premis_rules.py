"""What PREMIS 3 lets stand in which order in a record, for the elements that ours may have.

From the Data Dictionary for Preservation Metadata, version 3.0, and the complex types of the XML
schema that the Library of Congress publishes for it (premis-v3-0.xsd of January 2016), which no
Python package ships. Each rule lists all that the schema allows in an element of ours, with how
often: 1 exactly once, ? at most once, + at least once, * any number. A rule of None is text.
"""

from collections.abc import Iterable
from xml.etree.ElementTree import Element

import pyarrow as pa

from pipeline.ledger.run_file import Run
from pipeline.provenance.premis import Record
from pipeline.storage.base import Storage

SPACE = "{http://www.loc.gov/premis/v3}"
TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
RULES = {
    "premis": "object+ event* agent* rights*",
    # <object xsi:type="file">
    "object": "objectIdentifier+ preservationLevel* significantProperties* objectCharacteristics+"
    " originalName? storage* signatureInformation* relationship* linkingEventIdentifier*"
    " linkingRightsStatementIdentifier*",
    "objectCharacteristics": "compositionLevel? fixity* size? format+ creatingApplication*"
    " inhibitors* objectCharacteristicsExtension*",
    "fixity": "messageDigestAlgorithm1 messageDigest1 messageDigestOriginator?",
    # A registry may stand in place of the designation.
    "format": "formatDesignation1 formatRegistry? formatNote*",
    "formatDesignation": "formatName1 formatVersion?",
    "relationship": "relationshipType1 relationshipSubType1 relatedObjectIdentifier+"
    " relatedEventIdentifier* relatedEnvironmentPurpose* relatedEnvironmentCharacteristic?",
    "event": "eventIdentifier1 eventType1 eventDateTime1 eventDetailInformation*"
    " eventOutcomeInformation* linkingAgentIdentifier* linkingObjectIdentifier*",
    "eventDetailInformation": "eventDetail? eventDetailExtension*",
    # Details may stand alone, without an outcome.
    "eventOutcomeInformation": "eventOutcome1 eventOutcomeDetail*",
    "eventOutcomeDetail": "eventOutcomeDetailNote1 eventOutcomeDetailExtension*",
    "agent": "agentIdentifier+ agentName* agentType? agentVersion? agentNote* agentExtension*"
    " linkingEventIdentifier* linkingRightsStatementIdentifier* linkingEnvironmentIdentifier*",
    **{
        f"{name}Identifier": f"{name}IdentifierType1 {name}IdentifierValue1{more}"
        for name, more in {
            "object": "",
            "event": "",
            "agent": "",
            "relatedObject": " relatedObjectSequence?",
            "relatedEvent": " relatedEventSequence?",
            "linkingAgent": " linkingAgentRole*",
            "linkingObject": " linkingObjectRole*",
        }.items()
    },
}
_OFTEN = {"1": (1, 1), "?": (0, 1), "+": (1, 10**9), "*": (0, 10**9)}


def breaches(element: Element) -> list[str]:
    """Where an element, or what stands in it, breaks a rule."""
    name = element.tag.removeprefix(SPACE)
    if not element.tag.startswith(SPACE):
        return [f"{element.tag} is of another namespace"]
    allowed = {"premis": {"version"}, "object": {TYPE}}.get(name, set())
    found = [
        f"{name} has the attribute {each}"
        for each in set(element.keys()) - allowed
        if not each.endswith("}schemaLocation")
    ]
    if name == "premis" and element.get("version") != "3.0":
        found.append("premis is not of version 3.0")
    if name == "object" and element.get(TYPE) != "file":
        found.append("object is no file")
    rule = RULES.get(name)
    if rule is None:
        if len(element) or not element.text:
            found.append(f"{name} is no text")
        return found
    if (element.text or "").strip() or any((child.tail or "").strip() for child in element):
        found.append(f"{name} has text between its elements")
    children = [child.tag.removeprefix(SPACE) for child in element]
    rest = list(children)
    for term in rule.split():
        least, most = _OFTEN[term[-1]]
        count = 0
        while rest and rest[0] == term[:-1]:
            rest.pop(0)
            count += 1
        if not least <= count <= most:
            found.append(f"{name} has {count} times {term[:-1]}")
    if rest:
        found.append(f"{name} has {rest[0]} where it may not stand")
    return found + [breach for child in element for breach in breaches(child)]


def write_premis(destination: Storage, results: Iterable[pa.Table], run: Run) -> str | None:
    """Write the record of results, as a run does when it ends; its URI, or None without any."""
    with Record(run) as record:
        for table in results:
            record.add(table)
        return record.write(destination)
