/** Calls the entry points of rules extensions: frozen data in, a checked decision out, what goes wrong as an error. */
import { createHash } from "node:crypto";
import type { SyncConfiguration } from "./configuration.ts";
import { escapeComponent } from "./expression/functions/directory.ts";
import type {
  ConnectedMVEntry,
  ConnectorExtension,
  CSEntry,
  DeprovisionAction,
  ExtensionContext,
  ExtensionTools,
  MappedValue,
  MetaverseExtension,
  MVEntry,
  NamedExtension,
  ProvisioningAction,
} from "./extension.ts";
import { FlowError, type Offer } from "./flow.ts";
import type { Image, MetaverseObject } from "./model.ts";
import {
  type Attributes,
  type AttributeValue,
  type DateTime,
  isDateTime,
  isMultiValued,
  isReference,
  type Value,
} from "./values.ts";

/** An entry point threw, or answered what it may not. */
export class ExtensionError extends FlowError {
  /** Where in the extension; null when it answered wrongly. No paths of the machine. */
  readonly extensionStack: string | null;

  constructor(code: string, message: string, about: About, extensionStack: string | null = null) {
    super(code, bounded(message, messageMax), about.rule, about.attribute);
    this.name = "ExtensionError";
    this.extensionStack = extensionStack;
  }
}

const messageMax = 500;
const stackMax = 4000;

/** What the error names: the rule whose flow it is, or the extension itself. */
interface About {
  readonly rule: string;
  readonly attribute?: string;
}

/** As lineage, plans and errors name what no rule but an extension wants. */
export function extensionName({ file }: { readonly file: string }): string {
  return `extension ${file}`;
}

export function connectorExtension(
  connector: string,
  configuration: SyncConfiguration,
): NamedExtension<ConnectorExtension> | undefined {
  return configuration.connectors.get(connector)?.extension;
}

// ---- what goes in ------------------------------------------------------------------------------------------------

export function csEntry(connector: string, image: Image, more: Attributes = {}): CSEntry {
  return Object.freeze({
    connector,
    objectType: image.objectType,
    dn: image.dn,
    attributes: frozenAttributes({ ...image.attributes, ...more }),
  });
}

export function mvEntry(metaverse: MetaverseObject): MVEntry {
  const values = Object.entries(metaverse.attributes).map(([name, { value }]) => [name, value] as const);
  return Object.freeze({
    id: metaverse.id,
    objectType: metaverse.objectType,
    attributes: frozenAttributes(Object.fromEntries(values)),
  });
}

export function connectedMVEntry(
  entry: MVEntry,
  connected: readonly CSEntry[],
  configuration: SyncConfiguration,
): ConnectedMVEntry {
  const byConnector = Map.groupBy(connected, ({ connector }) => connector);
  const names = [...configuration.connectors.keys()];
  const connectors = Object.fromEntries(
    names.map((name) => [name, Object.freeze(byConnector.get(name) ?? [])]),
  );
  return Object.freeze({ ...entry, connectors: Object.freeze(connectors) });
}

function frozenAttributes(attributes: Attributes): Attributes {
  return Object.freeze(
    Object.fromEntries(
      Object.entries(attributes).map(([name, value]) => [
        name,
        isMultiValued(value) ? Object.freeze(value.map(frozen)) : frozen(value),
      ]),
    ),
  );
}

/** Bytes cannot be frozen, so the extension gets its own. */
function frozen(value: Value): Value {
  if (value instanceof Uint8Array) return value.slice();
  return typeof value === "object" ? Object.freeze({ ...value }) : value;
}

function tools(configuration: SyncConfiguration, seed: readonly string[]): ExtensionTools {
  return Object.freeze({
    parameters: Object.freeze(Object.fromEntries(configuration.parameters)),
    random: seededRandom(seed),
    escapeDNComponent: escapeComponent,
  });
}

function context(configuration: SyncConfiguration, now: DateTime, seed: readonly string[]): ExtensionContext {
  return Object.freeze({ ...tools(configuration, seed), now: Object.freeze({ ...now }) });
}

/** mulberry32, by Tommy Ettinger (public domain); a replay gets the numbers of the first time. */
function seededRandom(seed: readonly string[]): () => number {
  let state: number | undefined;
  return () => {
    state ??= createHash("sha256").update(JSON.stringify(seed)).digest().readUInt32LE();
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

// ---- the entry points --------------------------------------------------------------------------------------------

/** @throws ExtensionError, as all of these do */
export function mapForImport(
  extension: NamedExtension<ConnectorExtension>,
  flow: { readonly rule: string; readonly target: string; readonly flowRuleName: string },
  csentry: CSEntry,
  mventry: MVEntry,
  configuration: SyncConfiguration,
  now: DateTime,
): Offer {
  const { flowRuleName } = flow;
  const about = { rule: flow.rule, attribute: flow.target };
  const given = context(configuration, now, ["import", flowRuleName, mventry.id, csentry.dn]);
  const result = call(extension, "mapAttributesForImport", about, (entryPoints) =>
    entryPoints.mapAttributesForImport!(flowRuleName, csentry, mventry, given),
  );
  return offerOf(extension, "mapAttributesForImport", about, result);
}

export function mapForExport(
  extension: NamedExtension<ConnectorExtension>,
  flow: { readonly rule: string; readonly target: string; readonly flowRuleName: string },
  mventry: MVEntry,
  csentry: CSEntry,
  configuration: SyncConfiguration,
  now: DateTime,
): Offer {
  const { flowRuleName } = flow;
  const about = { rule: flow.rule, attribute: flow.target };
  const given = context(configuration, now, ["export", flowRuleName, mventry.id, csentry.connector]);
  const result = call(extension, "mapAttributesForExport", about, (entryPoints) =>
    entryPoints.mapAttributesForExport!(flowRuleName, mventry, csentry, given),
  );
  return offerOf(extension, "mapAttributesForExport", about, result);
}

export function askFilter(
  extension: NamedExtension<ConnectorExtension>,
  csentry: CSEntry,
  configuration: SyncConfiguration,
): boolean {
  const about = { rule: extensionName(extension) };
  const given = tools(configuration, ["filter", csentry.connector, csentry.dn]);
  const result = call(extension, "filterForDisconnection", about, (entryPoints) =>
    entryPoints.filterForDisconnection!(csentry, given),
  );
  return isBoolean(extension, "filterForDisconnection", result);
}

/** @returns the id of one of the candidates, or null */
export function askJoin(
  extension: NamedExtension<ConnectorExtension>,
  ruleName: string,
  csentry: CSEntry,
  candidates: readonly MVEntry[],
  configuration: SyncConfiguration,
): string | null {
  const about = { rule: ruleName };
  const given = tools(configuration, ["join", ruleName, csentry.connector, csentry.dn]);
  const result = call(extension, "resolveJoin", about, (entryPoints) =>
    entryPoints.resolveJoin!(ruleName, csentry, Object.freeze([...candidates]), given),
  );
  if (result === null) return null;
  const id = (result as Partial<MVEntry> | undefined)?.id;
  if (candidates.some((candidate) => candidate.id === id)) return id!;
  throw wrongAnswer(extension, "resolveJoin", about, "one of the candidates or null", result);
}

/** @returns a metaverse object type, or null */
export function askProjection(
  extension: NamedExtension<ConnectorExtension>,
  csentry: CSEntry,
  configuration: SyncConfiguration,
): string | null {
  const about = { rule: extensionName(extension) };
  const given = tools(configuration, ["projection", csentry.connector, csentry.dn]);
  const result = call(extension, "shouldProjectToMV", about, (entryPoints) =>
    entryPoints.shouldProjectToMV!(csentry, given),
  );
  if (result === null || (typeof result === "string" && configuration.metaverse.has(result))) return result;
  const types = [...configuration.metaverse.keys()].join(", ");
  throw wrongAnswer(
    extension,
    "shouldProjectToMV",
    about,
    `a metaverse object type (${types}) or null`,
    result,
  );
}

const deprovisionActions: readonly unknown[] = [
  "disconnect",
  "explicitDisconnect",
  "delete",
] satisfies DeprovisionAction[];

export function askDeprovisioning(
  extension: NamedExtension<ConnectorExtension>,
  csentry: CSEntry,
  configuration: SyncConfiguration,
  now: DateTime,
): DeprovisionAction {
  const about = { rule: extensionName(extension) };
  const given = context(configuration, now, ["deprovision", csentry.connector, csentry.dn]);
  const result = call(extension, "deprovision", about, (entryPoints) =>
    entryPoints.deprovision!(csentry, given),
  );
  if (deprovisionActions.includes(result)) return result as DeprovisionAction;
  throw wrongAnswer(extension, "deprovision", about, deprovisionActions.join(", "), result);
}

export function askDeletion(
  extension: NamedExtension<MetaverseExtension>,
  csentry: CSEntry,
  mventry: ConnectedMVEntry,
  configuration: SyncConfiguration,
  now: DateTime,
): boolean {
  const about = { rule: extensionName(extension) };
  const given = context(configuration, now, ["deletion", mventry.id, csentry.connector]);
  const result = call(extension, "shouldDeleteFromMV", about, (entryPoints) =>
    entryPoints.shouldDeleteFromMV!(csentry, mventry, given),
  );
  return isBoolean(extension, "shouldDeleteFromMV", result);
}

export type CheckedAction =
  | Exclude<ProvisioningAction, { kind: "connect" }>
  | (Omit<Extract<ProvisioningAction, { kind: "connect" }>, "attributes"> & {
      readonly attributes: Attributes;
    });

export function askProvisioning(
  extension: NamedExtension<MetaverseExtension>,
  mventry: ConnectedMVEntry,
  configuration: SyncConfiguration,
  now: DateTime,
): readonly CheckedAction[] {
  const about = { rule: extensionName(extension) };
  const given = context(configuration, now, ["provision", mventry.id]);
  const result: unknown = call(extension, "provision", about, (entryPoints) =>
    entryPoints.provision!(mventry, given),
  );
  if (!Array.isArray(result)) throw wrongAnswer(extension, "provision", about, "a list of actions", result);
  return result.map((action: unknown) => {
    const problem = actionProblem(action, configuration);
    if (problem === null) return checked(action as ProvisioningAction);
    throw wrongAnswer(extension, "provision", about, problem, action);
  });
}

/** A copy, which the extension can no longer change. */
function checked(action: ProvisioningAction): CheckedAction {
  if (action.kind !== "connect") return { ...action };
  const attributes = Object.entries(action.attributes ?? {}).flatMap(([name, value]) => {
    const one = attributeValueOf(value);
    return one === undefined ? [] : [[name, one] as const];
  });
  return { ...action, attributes: Object.fromEntries(attributes) };
}

/** What the action should be instead; null when it is one. */
function actionProblem(action: unknown, configuration: SyncConfiguration): string | null {
  if (typeof action !== "object" || action === null) return "actions";
  const { kind, connector, dn, objectType, attributes } = action as Record<string, unknown>;
  if (kind !== "connect" && kind !== "rename" && kind !== "deprovision")
    return "actions of the kind connect, rename or deprovision";
  if (typeof connector !== "string" || !configuration.connectors.has(connector))
    return `a connector of the configuration (${[...configuration.connectors.keys()].join(", ")})`;
  if (kind !== "deprovision" && (typeof dn !== "string" || dn.trim() === "")) return `a dn to ${kind} with`;
  if (kind !== "connect") return null;
  if (typeof objectType !== "string" || objectType === "") return "an objectType to connect with";
  if (attributes === undefined) return null;
  if (typeof attributes !== "object" || attributes === null) return "attributes as an object";
  const wrong = Object.entries(attributes).find(
    ([, value]) => value !== undefined && attributeValueOf(value) === undefined,
  );
  return wrong === undefined ? null : `an attribute value for ${wrong[0]}`;
}

// ---- calling -----------------------------------------------------------------------------------------------------

function call<EntryPoints, Result>(
  extension: NamedExtension<EntryPoints>,
  entryPoint: string,
  about: About,
  invoke: (entryPoints: EntryPoints) => Result,
): Result {
  let result: Result;
  try {
    result = invoke(extension.entryPoints);
  } catch (error) {
    const { message, stack } = thrown(error);
    throw new ExtensionError(
      "extension-dll-exception",
      `${entryPoint} in ${extension.file} threw ${message}`,
      about,
      stack,
    );
  }
  if (typeof (result as { then?: unknown } | null | undefined)?.then !== "function") return result;
  // Nobody waits for it: without this its failure would end the process.
  Promise.resolve(result).catch(() => undefined);
  throw wrongAnswer(extension, entryPoint, about, "its decision at once", result, "a promise");
}

/** Whatever can be thrown, and however it defends itself. */
function thrown(error: unknown): { readonly message: string; readonly stack: string | null } {
  try {
    const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    const stack = error instanceof Error && typeof error.stack === "string" ? error.stack : null;
    return { message, stack: stack === null ? null : withoutEngine(stack) };
  } catch {
    return { message: "something that cannot be shown", stack: null };
  }
}

/** The frames of the extension, by the names of its files; below them stands only how the engine came to call it. */
function withoutEngine(stack: string): string {
  const lines = bounded(stack, stackMax).split("\n");
  const end = lines.findIndex((line) => /^\s+at .*callExtension\.[jt]s/.test(line));
  const own = end < 0 ? lines : lines.slice(0, end);
  return own
    .map((line) =>
      /^\s+at /.test(line) ? line.replace(/(?:file:\/\/)?[^\s(]*\/extensions\//, "extensions/") : line,
    )
    .join("\n");
}

function wrongAnswer(
  { file }: { readonly file: string },
  entryPoint: string,
  about: About,
  wanted: string,
  answer: unknown,
  shown = describe(answer),
): ExtensionError {
  return new ExtensionError(
    "extension-dll-exception",
    `${entryPoint} in ${file} must return ${wanted}, and returned ${shown}.`,
    about,
  );
}

/** Its kind, not its values: they may be personal data. */
function describe(answer: unknown): string {
  if (answer === null || answer === undefined || typeof answer === "boolean") return String(answer);
  if (typeof answer === "string") return `the text ${JSON.stringify(bounded(answer, 40))}`;
  return Array.isArray(answer) ? "a list" : typeof answer === "object" ? "an object" : `a ${typeof answer}`;
}

function isBoolean(extension: { readonly file: string }, entryPoint: string, result: unknown): boolean {
  if (typeof result === "boolean") return result;
  const about = { rule: extensionName(extension) };
  throw wrongAnswer(extension, entryPoint, about, "true or false", result);
}

function offerOf(
  extension: { readonly file: string },
  entryPoint: string,
  about: About,
  result: MappedValue,
): Offer {
  if (result === null || result === undefined || (Array.isArray(result) && result.length === 0))
    return "null";
  if (typeof result === "object" && "flow" in result) {
    if (result.flow === "IgnoreThisFlow") return "ignore";
    if (result.flow === "AuthoritativeNull") return "authoritativeNull";
  }
  const value = attributeValueOf(result);
  if (value !== undefined) return { value };
  throw wrongAnswer(extension, entryPoint, about, "an attribute value", result);
}

/** Undefined for what no attribute can hold. */
function attributeValueOf(result: unknown): AttributeValue | undefined {
  if (!Array.isArray(result)) return oneValueOf(result);
  const values = result.map(oneValueOf);
  return values.length === 0 || values.includes(undefined) ? undefined : (values as Value[]);
}

function oneValueOf(result: unknown): Value | undefined {
  if (typeof result === "string" || typeof result === "bigint" || typeof result === "boolean") return result;
  if (typeof result === "number") return Number.isSafeInteger(result) ? BigInt(result) : undefined;
  if (result instanceof Uint8Array) return result;
  if (isDateTime(result)) return typeof result.ticks === "bigint" ? result : undefined;
  return isReference(result) && typeof result.dn === "string" ? result : undefined;
}

function bounded(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max)}…`;
}
