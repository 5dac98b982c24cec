/** Rules and configuration for single decisions: two sources and a target, with defaults. */
import type { SyncConfiguration } from "../../../src/engine/core/configuration.ts";
import {
  type ConnectorSpaceObject,
  type MetaverseObject,
  newConnectorSpaceObject,
} from "../../../src/engine/core/model.ts";
import { compileRules } from "../../../src/engine/core/ruleCompiler.ts";
import type { Flow, SyncRule } from "../../../src/engine/core/rules.ts";
import type { AttributeValue } from "../../../src/engine/core/values.ts";
import type { ObjectTypeSchema } from "../../../src/engine/ports/connector.ts";

const flow = { applyOnce: false, mergeType: "update" } as const;
export const direct = (source: string, target = source, more: Partial<Flow> = {}): Flow =>
  ({ ...flow, kind: "direct", source, target, ...more }) as Flow;
export const expression = (text: string, target: string, more: Partial<Flow> = {}): Flow =>
  ({ ...flow, kind: "expression", expression: text, target, ...more }) as Flow;
export const constant = (value: string | bigint | boolean, target: string, more: Partial<Flow> = {}): Flow =>
  ({ ...flow, kind: "constant", value, target, ...more }) as Flow;

export function inbound(changed: Partial<SyncRule> = {}): SyncRule {
  return {
    name: "hr-in",
    direction: "inbound",
    connector: "hr",
    connectorObjectType: "user",
    metaverseObjectType: "person",
    linkType: "provision",
    precedence: 100,
    enabled: true,
    scope: [],
    join: [[{ connectorAttribute: "id", metaverseAttribute: "uid", caseSensitive: false }]],
    flows: [direct("id", "uid"), direct("mail")],
    ...changed,
  };
}

export function outbound(changed: Partial<SyncRule> = {}): SyncRule {
  return inbound({
    name: "ad-out",
    direction: "outbound",
    connector: "ad",
    precedence: 200,
    join: [],
    flows: [expression('"CN=" & [uid] & ",DC=x"', "dn", { applyOnce: true }), direct("mail")],
    ...changed,
  });
}

const names = ["id", "uid", "mail", "level", "tags", "uac", "password"];
const types = { level: "integer", uac: "integer" } as const;
const attributes = new Map(
  names.map((name) => [
    name,
    {
      name,
      type: types[name as "level"] ?? ("string" as const),
      multiValued: name === "tags",
      indexed: true,
      ...(name === "password" && { writeOnly: true }),
    },
  ]),
);
const schema: readonly ObjectTypeSchema[] = [{ name: "user", attributes }];

export function configurationOf(
  rules: readonly SyncRule[],
  more: {
    readonly retainMs?: number;
    readonly deprovision?: "disconnect" | "explicitDisconnect" | "delete";
    readonly keepHandMadeDisable?: boolean;
    readonly deletionRule?: SyncConfiguration["metaverse"] extends ReadonlyMap<string, infer T>
      ? T extends { deletionRule: infer D }
        ? D
        : never
      : never;
    readonly filter?: SyncRule["scope"];
  } = {},
): SyncConfiguration {
  // As when the app starts: no directory has told its types yet.
  const selected = new Map([["user", new Map(names.map((name) => [name, null]))]]);
  const compiled = compileRules(rules, {
    connectorAttributes: new Map(["hr", "crm", "ad"].map((name) => [name, selected])),
    metaverseAttributes: new Map([["person", attributes]]),
    parameters: new Set(["Ou"]),
  });
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
  return {
    rules: compiled.rules,
    connectors: new Map(
      ["hr", "crm", "ad"].map((name) => [
        name,
        {
          name,
          filter: name === "hr" ? (more.filter ?? []) : [],
          retainMs: name === "hr" ? (more.retainMs ?? null) : null,
          deprovision: more.deprovision ?? "delete",
          keepHandMadeDisable: more.keepHandMadeDisable ?? true,
        },
      ]),
    ),
    metaverse: new Map([
      [
        "person",
        { name: "person", attributes, deletionRule: more.deletionRule ?? { kind: "lastConnector" } },
      ],
    ]),
    schemas: new Map(["hr", "crm", "ad"].map((name) => [name, schema])),
    parameters: new Map([["Ou", "DC=x"]]),
  };
}

/** An object of a source, pending as an add unless said. */
export function source(
  values: Record<string, AttributeValue>,
  known: Partial<ConnectorSpaceObject> = {},
): ConnectorSpaceObject {
  const image = { objectType: "user", dn: `CN=${String(values.id)}`, attributes: values };
  return newConnectorSpaceObject({
    id: `0${String(values.id)}`,
    connector: "hr",
    objectType: "user",
    anchor: String(values.id),
    dn: image.dn,
    pendingImport: { change: "add", image },
    ...known,
  });
}

/** A source object that was synchronised with these values. */
export function synchronized(
  values: Record<string, AttributeValue>,
  known: Partial<ConnectorSpaceObject> = {},
): ConnectorSpaceObject {
  const object = source(values, known);
  return {
    ...object,
    synchronized: known.synchronized ??
      object.pendingImport?.image ?? { objectType: "user", dn: object.dn, attributes: values },
    pendingImport: known.pendingImport ?? null,
  };
}

export function person(
  values: Record<string, AttributeValue> = {},
  known: Partial<MetaverseObject> = {},
): MetaverseObject {
  const lineage = { connector: "hr", rule: "hr-in", precedence: 100, since: "2026-01-01T00:00:00.000Z" };
  return {
    id: "0m",
    objectType: "person",
    attributes: Object.fromEntries(
      Object.entries(values).map(([name, value]) => [name, { value, ...lineage }]),
    ),
    connectors: [],
    deleted: false,
    ...known,
  };
}
