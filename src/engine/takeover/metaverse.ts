/** `MV.xml` of Entra Connect and MIM: the metaverse's schema and deletion rules. */
import type { DeletionRule } from "../core/configuration.ts";
import { guid } from "./exportedRule.ts";
import type { Finding } from "./findings.ts";
import { type ExportedSchema, readSchema } from "./schema.ts";
import { attributeOf, childNamed, childrenNamed, localName, type XmlElement } from "./xml.ts";

export interface ExportedMetaverse {
  readonly schema: ExportedSchema;
  /** By object type. */
  readonly deletionRules: ReadonlyMap<string, DeletionRule>;
  /** `none`, `scripted`, `sync-rule` or `both` in MIM; null in Entra Connect. */
  readonly provisioning: string | null;
  readonly element: XmlElement;
}

/** The element itself or within `saved-mv-configuration`. */
export function metaverseElement(root: XmlElement): XmlElement | undefined {
  return localName(root.name) === "mv-data" ? root : childNamed(root, "mv-data");
}

/** @param connectorName the name of the connector with this identifier, as our files have it */
export function readMetaverse(
  data: XmlElement,
  connectorName: (identifier: string) => string,
  find: (finding: Finding) => void,
): ExportedMetaverse {
  const schemaElement = childNamed(data, "schema");
  const schema: ExportedSchema = schemaElement === undefined ? new Map() : readSchema(schemaElement);
  const provisioning = childNamed(data, "provisioning");
  const isEntraConnect = provisioning === undefined;
  const deletionRules = new Map<string, DeletionRule>();
  // Entra Connect: an object lives as long as a rule of link type Provision or StickyJoin holds it. MIM: without a
  // rule, as long as anything is connected.
  for (const type of schema.keys())
    deletionRules.set(type, { kind: isEntraConnect ? "lastProvisioningRule" : "lastConnector" });
  for (const rule of childrenNamed(childNamed(data, "mv-deletion"), "mv-deletion-rule")) {
    const type = attributeOf(rule, "mv-object-type") ?? "";
    const kind = attributeOf(rule, "type") ?? "";
    const connectors = childrenNamed(rule, "src-ma").map(({ text }) => connectorName(guid(text)));
    const decide = (message: string) => find({ kind: "decision", about: type, message, place: rule.place });
    if (kind === "declared-any" && connectors.length > 0)
      deletionRules.set(type, { kind: "anyOf", connectors });
    else if (kind === "scripted") {
      deletionRules.set(type, { kind: "extension" });
      decide(
        "A rules extension decides when the metaverse object is deleted. Write its entry point shouldDeleteFromMV.",
      );
    } else if (connectors.length > 0)
      decide(
        `The deletion rule "${kind}" names ${connectors.join(", ")}; there is no such rule here. lastConnector was assumed: the object goes when nothing is connected any more.`,
      );
  }
  return {
    schema,
    deletionRules,
    provisioning: provisioning === undefined ? null : (attributeOf(provisioning, "type") ?? "none"),
    element: data,
  };
}
