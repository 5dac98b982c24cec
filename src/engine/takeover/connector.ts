/** `ma-data`: a connector of Entra Connect, a management agent of MIM. The two products export it alike. */
import type { Deprovision } from "../core/configuration.ts";
import type { ScopeCondition, ScopeGroup, ScopeOperator } from "../core/scope.ts";
import { guid } from "./exportedRule.ts";
import { type Finding, type Place, TakeoverError } from "./findings.ts";
import { type ExportedSchema, readSchema } from "./schema.ts";
import { attributeOf, childNamed, childrenNamed, localName, textOf, type XmlElement } from "./xml.ts";

export interface ExportedConnector {
  readonly identifier: string;
  readonly name: string;
  readonly category: string;
  readonly subtype: string;
  /** Our kind of connector; null: there is none for such a directory. */
  readonly kind: "ad" | "graph" | null;
  readonly schema: ExportedSchema;
  readonly attributes: readonly string[];
  readonly partitions: readonly ExportedPartition[];
  /** What rules write as %Forest.…%, by name. */
  readonly parameters: ReadonlyMap<string, string>;
  readonly filter: readonly ScopeGroup[];
  readonly deprovision: Deprovision;
  /** `ma-data`, for what a reader of flows needs beside this. */
  readonly element: XmlElement;
}
export interface ExportedPartition {
  readonly name: string;
  readonly displayName: string;
  readonly selected: boolean;
  readonly isDomain: boolean;
  readonly objectTypes: readonly string[];
  readonly included: readonly string[];
  readonly excluded: readonly string[];
  /** What rules write as %Domain.…%, by name. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** Always this one: https://learn.microsoft.com/entra/identity/hybrid/connect/reference-connect-version-history */
export const entraConnectorIdentifier = "b891884f-051e-4a83-95af-2544101c9083";

/** The element itself or within `saved-ma-configuration`. */
export function connectorElement(root: XmlElement): XmlElement | undefined {
  return localName(root.name) === "ma-data" ? root : childNamed(root, "ma-data");
}

/** @param find what is to be told of it; the name is that of the export */
export function readConnector(data: XmlElement, find: (finding: Finding) => void): ExportedConnector {
  const name = textOf(data, "name")?.trim() ?? "";
  const identifier = guid(textOf(data, "id") ?? "");
  if (name === "" || identifier === "")
    throw new TakeoverError("The connector has no name or no id.", data.place);
  const category = textOf(data, "category")?.trim() ?? "";
  const subtype = textOf(data, "subtype")?.trim() ?? "";
  const schema = childNamed(data, "schema");
  const report = (kind: Finding["kind"], message: string, place: Place = data.place) =>
    find({ kind, about: name, message, place });
  return {
    identifier,
    name,
    category,
    subtype,
    kind:
      category === "AD"
        ? "ad"
        : identifier === entraConnectorIdentifier || /azure active directory|microsoft entra/i.test(subtype)
          ? "graph"
          : null,
    schema: schema === undefined ? new Map() : readSchema(schema),
    attributes: childrenNamed(childNamed(data, "attribute-inclusion"), "attribute").map(({ text }) =>
      text.trim(),
    ),
    partitions: childrenNamed(childNamed(data, "ma-partition-data"), "partition").map(partition),
    parameters: intrinsicParameters(
      childNamed(childNamed(data, "private-configuration"), "adma-configuration"),
    ),
    filter: readFilter(data, report),
    deprovision: readDeprovision(data, report),
    element: data,
  };
}

function partition(element: XmlElement): ExportedPartition {
  const filter = childNamed(element, "filter");
  const containers = childNamed(filter, "containers");
  const texts = (parent: XmlElement | undefined, name: string) =>
    childrenNamed(parent, name)
      .map(({ text }) => text.trim())
      .filter((text) => text !== "");
  const custom = childNamed(childNamed(element, "custom-data"), "adma-partition-data");
  return {
    name: textOf(element, "name")?.trim() ?? "",
    displayName: textOf(element, "display-name")?.trim() ?? textOf(custom, "name")?.trim() ?? "",
    selected: textOf(element, "selected")?.trim() === "1",
    isDomain: textOf(custom, "is-domain")?.trim() === "1",
    objectTypes: texts(childNamed(filter, "object-classes"), "object-class"),
    included: texts(childNamed(containers, "inclusions"), "inclusion"),
    excluded: texts(childNamed(containers, "exclusions"), "exclusion"),
    parameters: intrinsicParameters(element),
  };
}

/** `intrinsic`: the product fills them in itself. */
function intrinsicParameters(parent: XmlElement | undefined): ReadonlyMap<string, string> {
  return new Map(
    childrenNamed(childNamed(parent, "parameter-values"), "parameter")
      .filter((parameter) => attributeOf(parameter, "intrinsic") === "1")
      .map((parameter) => [attributeOf(parameter, "name") ?? "", parameter.text]),
  );
}

type Report = (kind: Finding["kind"], message: string, place?: Place) => void;

const deprovisions: Readonly<Record<string, Deprovision>> = {
  "make-normal-disconnector": "disconnect",
  "make-explicit-disconnector": "explicitDisconnect",
  "delete-object": "delete",
};

function readDeprovision(data: XmlElement, report: Report): Deprovision {
  const cleanup = childNamed(data, "provisioning-cleanup");
  if (cleanup === undefined) return "disconnect";
  const action = textOf(cleanup, "action")?.trim() ?? "";
  const deprovision = deprovisions[action];
  if (deprovision !== undefined && attributeOf(cleanup, "type") === "declared") return deprovision;
  report(
    "decision",
    "A rules extension decides what becomes of an object that loses its metaverse object. Write its entry point deprovision, or another action here.",
    cleanup.place,
  );
  return "extension";
}

const filterOperators: Readonly<Record<string, ScopeOperator>> = {
  equality: "EQUAL",
  inequality: "NOTEQUAL",
  "less-than": "LESSTHAN",
  "less-than-or-equal": "LESSTHAN_OR_EQUAL",
  "greater-than": "GREATERTHAN",
  "greater-than-or-equal": "GREATERTHAN_OR_EQUAL",
  present: "ISNOTNULL",
  "not-present": "ISNULL",
  "substring-start": "STARTSWITH",
  "substring-end": "ENDSWITH",
  "substring-any": "CONTAINS",
  "not-substring-start": "NOTSTARTSWITH",
  "not-substring-end": "NOTENDSWITH",
  "not-substring-any": "NOTCONTAINS",
  "bit-on": "ISBITSET",
  "bit-off": "ISBITNOTSET",
};

/** MIM's connector filter: an object that meets one of the alternatives stays a disconnector. */
function readFilter(data: XmlElement, report: Report): readonly ScopeGroup[] {
  const sets = childrenNamed(childNamed(data, "stay-disconnector"), "filter-set");
  const groups: ScopeGroup[] = [];
  const types = new Set<string>();
  for (const set of sets) {
    const type = attributeOf(set, "cd-object-type") ?? "";
    if (attributeOf(set, "type") === "scripted") {
      report(
        "decision",
        `A rules extension filters objects of type ${type}. Write its entry point filterForDisconnection.`,
        set.place,
      );
      continue;
    }
    for (const alternative of childrenNamed(set, "filter-alternative")) {
      const group: ScopeCondition[] = [];
      let known = true;
      for (const condition of childrenNamed(alternative, "condition")) {
        const operator = filterOperators[attributeOf(condition, "operator") ?? ""];
        if (operator === undefined) {
          known = false;
          report(
            "decision",
            `The filter's operator "${attributeOf(condition, "operator")}" on "${attributeOf(condition, "cd-attribute")}" is not known; this alternative of the filter was left out.`,
            condition.place,
          );
          continue;
        }
        const values = childrenNamed(condition, "value").map(({ text }) => text);
        group.push({
          attribute: attributeOf(condition, "cd-attribute") ?? "",
          operator,
          ...(operator !== "ISNULL" && operator !== "ISNOTNULL" && { value: values[0] ?? "" }),
        });
      }
      if (!known || group.length === 0) continue;
      groups.push(group);
      types.add(type);
    }
  }
  if (types.size > 1)
    report(
      "differs",
      `The filter is for objects of the types ${[...types].sort().join(", ")} apart; here one filter is for all object types of the connector.`,
    );
  return groups;
}

/** The attributes that objects of the type can have, of those that are selected. */
export function selectedAttributes(connector: ExportedConnector, objectType: string): readonly string[] {
  const schema = connector.schema.get(objectType);
  if (schema === undefined) return connector.attributes;
  return connector.attributes.filter((attribute) => schema.has(attribute));
}

/** Whether a rules extension decides about anything but attribute flows. */
export function isScripted({ element }: ExportedConnector): boolean {
  const scripted = (one: XmlElement): boolean =>
    attributeOf(one, "type") === "scripted" || one.children.some(scripted);
  return ["stay-disconnector", "join", "projection", "provisioning-cleanup"].some((name) =>
    childrenNamed(element, name).some(scripted),
  );
}
