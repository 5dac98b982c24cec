/** Rules, connectors and metaverse that were taken over → the files of a configuration, and what they cannot say. */
import type { ConfigurationFile } from "../core/configuration.ts";
import { anyMetaverseObjectType, type SyncRule } from "../core/rules.ts";
import { type ExportedConnector, type ExportedPartition, isScripted } from "./connector.ts";
import type { Finding } from "./findings.ts";
import type { ExportedMetaverse } from "./metaverse.ts";
import { slug, UniqueNames } from "./names.ts";
import { connectorText, metaverseText, ruleText } from "./writeConfiguration.ts";

/** A connector of the export with its name in our files. */
export interface NamedConnector {
  readonly name: string;
  readonly exported: ExportedConnector;
}

export interface TakenOverConfiguration {
  /** By path. */
  readonly files: readonly ConfigurationFile[];
  /** What rules may write as %Name%. */
  readonly parameters: ReadonlySet<string>;
  readonly findings: readonly Finding[];
}

/** @param given connectors that are there already: no file is written for them */
export function configurationOf(
  rules: readonly SyncRule[],
  connectors: readonly NamedConnector[],
  metaverse: ExportedMetaverse | undefined,
  given: ReadonlyMap<string, string>,
): TakenOverConfiguration {
  const findings: Finding[] = [];
  const names = new UniqueNames();
  const files = rules.map((rule) => ruleText(names.take(slug(rule.name)), rule));
  for (const connector of connectors) {
    if (given.has(connector.exported.identifier)) continue;
    findings.push(...aboutConnector(connector));
    const extension = extensionOf(connector, rules);
    if (extension !== null) findings.push(missingExtension(connector.name, extension));
    const objectTypes = objectTypesOf(connector, rules, findings);
    files.push(connectorText(connector.name, connector.exported, objectTypes, extension));
  }
  const parameters = parametersOf(rules, connectors, findings);
  if (metaverse !== undefined) {
    const extension = metaverseExtension(metaverse);
    if (extension !== null) findings.push(missingExtension("metaverse", extension));
    files.push(metaverseText(metaverse, joinedAttributes(rules), parameters, extension));
  }
  return {
    files: files.sort((a, b) => (a.file < b.file ? -1 : 1)),
    parameters: new Set([...parameters.keys(), "Connector.ID"]),
    findings,
  };
}

/** What the rules write as %Name%, with the value where the export tells it, else with an app setting. */
function parametersOf(
  rules: readonly SyncRule[],
  connectors: readonly NamedConnector[],
  findings: Finding[],
): ReadonlyMap<string, string> {
  const texts = rules.flatMap(({ scope, flows }) => [
    ...scope.flat().map(({ value }) => String(value ?? "")),
    ...flows.map((flow) => (flow.kind === "expression" ? flow.expression : "")),
  ]);
  const used = new Set(
    texts.flatMap((text) => [...text.matchAll(/%([A-Za-z_][\w.]*)%/g)].map(([, name]) => name!)),
  );
  used.delete("Connector.ID");
  const forests = connectors.filter(({ exported }) => exported.kind === "ad");
  const domains = forests.flatMap(({ exported }) => domainsOf(exported));
  // Several forests or domains have a value each, and no one of them is that of the installation.
  const known = new Map([
    ...(forests.length === 1 ? forests[0]!.exported.parameters : []),
    ...(domains.length === 1 ? domains[0]!.parameters : []),
  ]);
  const setting = (name: string) => name.replaceAll(".", "_").toUpperCase();
  const names = [...used].sort();
  const open = names.filter((name) => !known.has(name));
  if (open.length > 0)
    findings.push({
      kind: "decision",
      about: "metaverse",
      message: `The rules use parameters whose values the export does not tell${domains.length > 1 ? " (there are several domains, and one value is for all)" : ""}: ${open.join(", ")}. In metaverse.yaml they are app settings: ${open.map(setting).join(", ")}.`,
    });
  return new Map(names.map((name) => [name, known.get(name) ?? `%${setting(name)}%`]));
}

/** The rules extension that the connector's file names, where the export has one decide. */
function extensionOf({ name, exported }: NamedConnector, rules: readonly SyncRule[]): string | null {
  const maps = rules.some(
    ({ connector, flows }) => connector === name && flows.some(({ kind }) => kind === "extension"),
  );
  return maps || isScripted(exported) ? `${name}.ts` : null;
}

function metaverseExtension({ provisioning, deletionRules }: ExportedMetaverse): string | null {
  const decides = [...deletionRules.values()].some(({ kind }) => kind === "extension");
  return decides || provisioning === "scripted" || provisioning === "both" ? "metaverse.ts" : null;
}

function missingExtension(about: string, file: string): Finding {
  return {
    kind: "decision",
    about,
    message: `A rules extension (DLL) takes part, and an export does not hold it. The configuration does not load before extensions/${file} exists, or is no longer named.`,
  };
}

/** The object types that rules are for; all that are selected where there is no rule. */
function objectTypesOf(
  { name, exported }: NamedConnector,
  rules: readonly SyncRule[],
  findings: Finding[],
): readonly string[] {
  const selected = [...new Set(exported.partitions.flatMap(({ objectTypes }) => objectTypes))];
  const used = new Set(
    rules.filter(({ connector }) => connector === name).map(({ connectorObjectType }) => connectorObjectType),
  );
  const types = used.size > 0 ? [...used] : selected.length > 0 ? selected : [...exported.schema.keys()];
  const unused = selected.filter((type) => !types.includes(type));
  if (unused.length > 0)
    findings.push({
      kind: "remark",
      about: name,
      message: `No rule is for the selected object types ${unused.sort().join(", ")}; they were left out.`,
      place: exported.element.place,
    });
  return types.sort();
}

function aboutConnector({ name, exported }: NamedConnector): readonly Finding[] {
  const findings: Finding[] = [];
  const find = (kind: Finding["kind"], message: string) =>
    findings.push({ kind, about: name, message, place: exported.element.place });
  if (exported.category === "FIM")
    find(
      "differs",
      "This is the MIM service itself, and there is no portal here. Leave out the connector and its rules.",
    );
  else if (exported.kind === null)
    find(
      "decision",
      `There is no connector for a directory of this kind (${exported.category}). The file has its object types and attributes; its kind and settings have to be decided.`,
    );
  if (exported.kind === "graph")
    find(
      "decision",
      "The connector of Entra Connect speaks to a service of its own; here it is Microsoft Graph. Its object types are user and group, some attributes have other names, and what Entra Connect alone may write is not among them. The filter is that of the guest recipe, and nothing is exported without writable: true. Review objectTypes, filter and the rules that export to Entra; examples/forests-to-entra has such rules for Graph.",
    );
  if (exported.kind === "ad") {
    const excluded = exported.partitions.filter(({ selected }) => selected).flatMap(excludedWithin);
    if (excluded.length > 0)
      find(
        "decision",
        `Containers are excluded: ${excluded.join("; ")}. A connector here names what is included; list the organisational units in settings.containers.`,
      );
    const domains = domainsOf(exported);
    if (domains.length > 1)
      find(
        "decision",
        `The connector reads ${domains.length} domains (${domains.map((domain) => domain.name).join("; ")}); here a connector reads one. Make a connector for each.`,
      );
    find("remark", "An export holds no credentials. The settings name app settings, which have to be set.");
  }
  return findings;
}

function domainsOf({ partitions }: ExportedConnector): readonly ExportedPartition[] {
  return partitions.filter(({ selected, isDomain }) => selected && isDomain);
}

/** Where containers are included by name, only what is excluded inside of one of them counts. */
function excludedWithin({ included, excluded }: ExportedPartition): readonly string[] {
  if (included.length === 0) return excluded;
  const isInside = (dn: string) =>
    included.some((container) => dn.toLowerCase().endsWith(`,${container.toLowerCase()}`));
  return excluded.filter(isInside);
}

function joinedAttributes(rules: readonly SyncRule[]): (objectType: string, attribute: string) => boolean {
  const joined = new Set<string>();
  for (const { metaverseObjectType, join } of rules)
    for (const { metaverseAttribute } of join.flat())
      joined.add(JSON.stringify([metaverseObjectType, metaverseAttribute]));
  return (objectType, attribute) =>
    [objectType, anyMetaverseObjectType].some((type) => joined.has(JSON.stringify([type, attribute])));
}
