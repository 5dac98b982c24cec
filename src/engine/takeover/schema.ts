/** DSML as the synchronisation engines export it: the schemas of connectors and of the metaverse. */
import type { AttributeType } from "../core/values.ts";
import { attributeOf, childrenNamed, localName, textOf, type XmlElement } from "./xml.ts";

export interface ExportedAttribute {
  readonly name: string;
  readonly type: AttributeType;
  readonly multiValued: boolean;
  readonly indexed: boolean;
}
/** By object type, then by attribute. */
export type ExportedSchema = ReadonlyMap<string, ReadonlyMap<string, ExportedAttribute>>;

/** LDAP syntaxes (RFC 4517, and Active Directory's own). Others are text. */
const syntaxes: Readonly<Record<string, AttributeType>> = {
  "1.3.6.1.4.1.1466.115.121.1.5": "binary",
  "1.3.6.1.4.1.1466.115.121.1.7": "boolean",
  "1.3.6.1.4.1.1466.115.121.1.12": "reference",
  "1.3.6.1.4.1.1466.115.121.1.27": "integer",
  "1.3.6.1.4.1.1466.115.121.1.40": "binary",
  "1.2.840.113556.1.4.903": "reference",
  "1.2.840.113556.1.4.904": "reference",
  "1.2.840.113556.1.4.906": "integer",
  "1.2.840.113556.1.4.907": "binary",
};

/** What a class may have is its own, its superiors', and in Active Directory what its content rule adds. */
interface SchemaClass {
  readonly name: string;
  readonly attributes: readonly string[];
  readonly superiors: readonly string[];
}

/** @param schema the element `<schema>` */
export function readSchema(schema: XmlElement): ExportedSchema {
  const attributes = new Map<string, ExportedAttribute>();
  const classes = new Map<string, SchemaClass>();
  const additions = new Map<string, XmlElement>();
  for (const element of descendants(schema)) {
    const id = attributeOf(element, "id") ?? "";
    switch (localName(element.name)) {
      case "attribute-type":
        attributes.set(id, {
          name: textOf(element, "name")?.trim() || id,
          type: syntaxes[textOf(element, "syntax")?.trim() ?? ""] ?? "string",
          multiValued: attributeOf(element, "single-value") !== "true",
          indexed: attributeOf(element, "indexed") === "true",
        });
        break;
      case "class":
        classes.set(id, {
          name: textOf(element, "name")?.trim() || id,
          attributes: references(element, "attribute"),
          superiors: (attributeOf(element, "superior") ?? "").split(/\s+/).filter(Boolean).map(withoutHash),
        });
        break;
      case "dit-content-rule":
        additions.set(id, element);
    }
  }
  const result = new Map<string, ReadonlyMap<string, ExportedAttribute>>();
  for (const [id, { name }] of classes) {
    const own = new Map<string, ExportedAttribute>();
    const waiting = [id];
    const seen = new Set(waiting);
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const addition = additions.get(next);
      const more = [
        ...(classes.get(next)?.superiors ?? []),
        ...(addition ? references(addition, "aux-class") : []),
      ];
      for (const reference of [
        ...(classes.get(next)?.attributes ?? []),
        ...(addition ? references(addition, "attribute") : []),
      ]) {
        const attribute = attributes.get(reference);
        if (attribute !== undefined) own.set(attribute.name, attribute);
      }
      for (const other of more) {
        if (!seen.has(other)) waiting.push(other);
        seen.add(other);
      }
    }
    result.set(name, own);
  }
  return result;
}

function* descendants(element: XmlElement): Generator<XmlElement> {
  for (const child of element.children) {
    yield child;
    yield* descendants(child);
  }
}

function references(element: XmlElement, name: string): readonly string[] {
  return childrenNamed(element, name).map((one) => withoutHash(attributeOf(one, "ref") ?? ""));
}

function withoutHash(reference: string): string {
  return reference.replace(/^#/, "");
}
