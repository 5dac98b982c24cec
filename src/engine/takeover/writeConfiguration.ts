/** Rules, connectors and metaverse that were taken over → the texts of their YAML files. */
import { Document, isMap, isSeq, type Node } from "yaml";
import type { ConfigurationFile, DeletionRule } from "../core/configuration.ts";
import type { Flow, SyncRule } from "../core/rules.ts";
import { type ExportedConnector, selectedAttributes } from "./connector.ts";
import type { ExportedMetaverse } from "./metaverse.ts";

/** @param file its name, without folder and ending */
export function ruleText(file: string, rule: SyncRule): ConfigurationFile {
  const { enabled, scope, join, flows, origin, name, description, ...rest } = rule;
  const document = new Document({
    name,
    ...(description !== undefined && { description }),
    ...rest,
    ...(!enabled && { enabled }),
    ...(scope.length > 0 && { scope }),
    ...(join.length > 0 && {
      join: join.map((group) =>
        group.map(({ caseSensitive, ...condition }) => ({
          ...condition,
          ...(caseSensitive && { caseSensitive }),
        })),
      ),
    }),
    flows: flows.map(flowContent),
    ...(origin !== undefined && { origin }),
  });
  // One condition or plain flow a line; expressions keep a line of their own.
  for (const group of [...itemsAt(document, "scope"), ...itemsAt(document, "join")])
    for (const condition of isSeq<Node>(group) ? group.items : []) onOneLine(condition);
  for (const flow of itemsAt(document, "flows")) if (isMap(flow) && !flow.has("expression")) onOneLine(flow);
  return { file: `rules/${file}.yaml`, text: textOf("rule", [], document) };
}

function flowContent(flow: Flow): Record<string, unknown> {
  const { target, applyOnce, mergeType } = flow;
  return {
    target,
    ...(applyOnce && { applyOnce }),
    ...(mergeType !== "update" && { mergeType }),
    ...(flow.kind === "direct" && { source: flow.source }),
    ...(flow.kind === "constant" && { constant: flow.value }),
    ...(flow.kind === "expression" && { expression: flow.expression }),
    ...(flow.kind === "extension" && { extension: flow.flowRuleName }),
  };
}

/**
 * @param objectTypes those that rules read or write; all that are selected when there are none
 * @param extension the file of its rules extension, or null
 */
export function connectorText(
  name: string,
  connector: ExportedConnector,
  objectTypes: readonly string[],
  extension: string | null,
): ConfigurationFile {
  const partitions = connector.partitions.filter(({ selected }) => selected);
  const setting = name.replaceAll("-", "_").toUpperCase();
  const domains = partitions.filter(({ isDomain }) => isDomain);
  const domain = (domains[0] ?? partitions[0])?.name ?? `%${setting}_BASE_DN%`;
  const containers = domains.flatMap(({ name: partition, included }) =>
    included.length > 0 ? included : [partition],
  );
  const settings =
    connector.kind === "ad"
      ? {
          url: `%${setting}_URL%`,
          bindDn: `%${setting}_BIND_DN%`,
          bindPassword: `%${setting}_BIND_PASSWORD%`,
          caCertificate: `%${setting}_CA_CERTIFICATE|%`,
          baseDn: domain,
          containers: containers.length > 0 ? containers : [domain],
        }
      : connector.kind === "graph"
        ? { baseUrl: "%GRAPH_BASE_URL|https://graph.microsoft.com%", filter: "userType eq 'Guest'" }
        : {};
  const document = new Document({
    name,
    kind: connector.kind ?? connector.category.toLowerCase(),
    settings,
    objectTypes: objectTypes.map((type) => ({
      name: type,
      attributes: [...selectedAttributes(connector, type)].sort(),
    })),
    ...(connector.filter.length > 0 && { filter: connector.filter }),
    ...(extension !== null && { extension }),
    ...(connector.deprovision !== "disconnect" && { deprovision: connector.deprovision }),
  });
  for (const group of itemsAt(document, "filter"))
    for (const condition of isSeq<Node>(group) ? group.items : []) onOneLine(condition);
  const comments = [
    `Taken over from "${connector.name}" (${connector.category}${connector.subtype === "" ? "" : `, ${connector.subtype}`}), ${connector.identifier}.`,
    "%NAME% is an app setting that must be set, %NAME|default% one that need not be.",
    ...partitions.map(({ name: partition, excluded, included }) =>
      [
        `Partition ${partition}`,
        ...(included.length > 0 ? [`included: ${included.join("; ")}`] : []),
        ...(excluded.length > 0 ? [`excluded: ${excluded.join("; ")}`] : []),
      ].join(", "),
    ),
  ];
  return { file: `connectors/${name}.yaml`, text: textOf("connector", comments, document) };
}

/** @param joined whether a join condition is on the attribute, which must then be indexed */
export function metaverseText(
  metaverse: ExportedMetaverse,
  joined: (objectType: string, attribute: string) => boolean,
  parameters: ReadonlyMap<string, string>,
  extension: string | null,
): ConfigurationFile {
  const document = new Document({
    ...(extension !== null && { extension }),
    ...(parameters.size > 0 && { parameters: Object.fromEntries(parameters) }),
    objectTypes: [...metaverse.schema]
      .filter(([, attributes]) => attributes.size > 0)
      .map(([name, attributes]) => ({
        name,
        deletionRule: deletionContent(metaverse.deletionRules.get(name)),
        attributes: [...attributes.values()].map(({ name: attribute, type, multiValued, indexed }) => ({
          name: attribute,
          ...(type !== "string" && { type }),
          ...(multiValued && { multiValued }),
          ...((indexed || joined(name, attribute)) && { indexed: true }),
        })),
      })),
  });
  for (const type of itemsAt(document, "objectTypes")) {
    if (!isMap(type)) continue;
    for (const attribute of items(type.get("attributes", true))) onOneLine(attribute);
    const deletionRule = type.get("deletionRule", true);
    if (isMap(deletionRule)) onOneLine(deletionRule);
  }
  return { file: "metaverse.yaml", text: textOf("metaverse", [], document) };
}

function deletionContent(rule: DeletionRule | undefined): unknown {
  if (rule === undefined) return "lastConnector";
  return rule.kind === "anyOf" ? { anyOf: [...rule.connectors] } : rule.kind;
}

function itemsAt(document: Document, key: string): readonly Node[] {
  return items(document.get(key, true));
}

function items(node: unknown): readonly Node[] {
  return isSeq<Node>(node) ? node.items : [];
}

function onOneLine(node: Node): void {
  if (isMap(node) || isSeq(node)) node.flow = true;
}

/** Lines are not folded: problems in expressions are told by their line and column in this file. */
function textOf(schema: string, comments: readonly string[], document: Document): string {
  const folder = schema === "metaverse" ? "" : "../";
  const header = [`yaml-language-server: $schema=${folder}schemas/${schema}.json`, ...comments];
  const yaml = document.toString({ lineWidth: 0, flowCollectionPadding: true });
  return `${header.map((line) => `# ${line.replaceAll(/\s+/g, " ")}`).join("\n")}\n${yaml}`;
}
