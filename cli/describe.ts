/** How connectors, their objects and the metaverse look on a terminal: what MIM's Synchronization Service shows. */
import colors from "picocolors";
import { describeHold, type Hold } from "./describeHistory.ts";
import { colorStatus, duration, facts, instant, textTable } from "./print.ts";

/** A value as the API writes it: `{"$dt"}`, `{"$bin"}`, `{"$int64"}` and `{"$ref"}` are what JSON has no form for. */
type Value = string | number | boolean | Readonly<Record<string, string>>;
export type Values = Value | readonly Value[];
type Attributes = Readonly<Record<string, Values>>;
type Changes = Readonly<Record<string, number>>;

interface RunSummary {
  readonly id: string;
  readonly cycle: string | null;
  readonly status: string;
  readonly startedAt: string;
  readonly endedAt: string | null;
  readonly trigger: string;
}

export interface Connector {
  readonly name: string;
  readonly kind: string;
  readonly runProfiles: readonly { readonly name: string }[];
  readonly counts: Changes;
  readonly pendingImports: Changes;
  readonly pendingExports: Changes;
  readonly watermarkAt: string | null;
  readonly lastFullImportAt: string | null;
  readonly fullImportRequired: boolean;
  readonly fullSynchronizationRequired: boolean;
  readonly exportsHeld: {
    readonly status: string;
    readonly detail: string;
    readonly since: string;
    readonly runId: string;
  } | null;
  readonly lastRuns: readonly RunSummary[];
}

export interface ConnectorSpaceItem {
  readonly id: string;
  readonly objectType: string;
  readonly anchor: string | null;
  readonly dn: string;
  readonly state: string;
  readonly metaverseId: string | null;
  readonly pendingImport: string | null;
  readonly pendingExport: string | null;
  readonly unconfirmedExport: string | null;
  readonly errorCode: string | null;
}

interface Image {
  readonly dn: string;
  readonly attributes: Attributes;
}
interface PendingExport {
  readonly change: string;
  readonly newDn?: string;
  readonly attributes: readonly { readonly name: string; readonly after?: Values | null }[];
}

export interface ConnectorSpaceObject extends ConnectorSpaceItem {
  readonly connector: string;
  readonly tower: {
    readonly synchronized: Image | null;
    readonly pendingImport: { readonly change: string; readonly image: Image | null } | null;
    readonly pendingExport: PendingExport | null;
    readonly escrowedExport: PendingExport | null;
    readonly unconfirmedExport: {
      readonly change: string;
      readonly newDn?: string;
      readonly expected: Readonly<Record<string, Values | null>>;
    } | null;
  };
  readonly absence: { readonly kind: string; readonly since: string } | null;
  /** Attributes in which a hand-made disable is kept. */
  readonly held: readonly string[];
  readonly hold: Hold | null;
  readonly error: {
    readonly phase: string;
    readonly code: string;
    readonly message: string;
    readonly firstOccurred: string;
    readonly retryCount: number;
    readonly retryAt?: string;
    readonly quarantined?: true;
  } | null;
}

export interface MetaverseItem {
  readonly id: string;
  readonly objectType: string;
  readonly attributes: Attributes;
  readonly connectors: readonly {
    readonly connector: string;
    readonly anchor: string | null;
    readonly dn: string;
  }[];
}

export interface MetaverseObject extends MetaverseItem {
  readonly lineage: Readonly<
    Record<
      string,
      readonly {
        readonly value: Values | null;
        readonly connector: string;
        readonly rule: string;
        readonly precedence: number;
        readonly since: string | null;
        readonly won: boolean;
        readonly expression: string | null;
        readonly reason: string;
      }[]
    >
  >;
  readonly hold: Hold | null;
}

// ---- connectors --------------------------------------------------------------------------------------------------

export function describeConnectors(connectors: readonly Connector[]): string {
  return tableOf(
    [
      "Connector",
      "Kind",
      "Objects",
      "Connectors",
      "Disconnectors",
      "Pending imports",
      "Pending exports",
    ].concat(["Errors", "Last run", "Needs"]),
    connectors.map((connector) => {
      const { name, kind, counts, pendingImports, pendingExports, lastRuns } = connector;
      const [last] = lastRuns;
      return [
        name,
        kind,
        count(counts.objects),
        count(counts.connectors),
        count(counts.disconnectors),
        changes(pendingImports),
        changes(pendingExports),
        counts.errors ? count(counts.errors) : "",
        last === undefined ? "" : `${colorStatus(last.status)} ${instant(last.startedAt)}`,
        needs(connector),
      ];
    }),
  );
}

export function describeConnector(connector: Connector): string {
  const { name, kind, runProfiles, counts, pendingImports, pendingExports, lastRuns } = connector;
  const numbers: readonly (readonly [string, string])[] = [
    ["Objects", "objects"],
    ["Connectors", "connectors"],
    ["Disconnectors", "disconnectors"],
    ["  filtered", "filteredDisconnectors"],
    ["  explicit", "explicitDisconnectors"],
    ["Exports not yet confirmed", "unconfirmedExports"],
    ["Errors", "errors"],
    ["  in quarantine", "quarantined"],
  ];
  return [
    facts([
      ["Connector", `${name} (${kind})`],
      ...numbers.map(([label, key]) => [label, count(counts[key])] as const),
      ["Pending imports", changes(pendingImports)],
      ["Pending exports", changes(pendingExports)],
      ["Last import up to", connector.watermarkAt === null ? "never" : instant(connector.watermarkAt)],
      [
        "Last full import",
        connector.lastFullImportAt === null ? "never" : instant(connector.lastFullImportAt),
      ],
      ["Needs", needs(connector)],
      ["Exports are held", connector.exportsHeld?.detail],
      ["Run profiles", runProfiles.map((profile) => profile.name).join("\n")],
    ]),
    lastRuns.length === 0
      ? "It has not been run yet."
      : textTable(
          ["Last runs", "What", "Status", "Started", "Duration", "Trigger"],
          lastRuns.map(({ id, cycle, status, startedAt, endedAt, trigger }) => [
            id,
            cycle === null ? "run profile" : `${cycle} cycle`,
            colorStatus(status),
            instant(startedAt),
            duration(startedAt, endedAt),
            trigger,
          ]),
        ),
  ].join("\n");
}

function needs({ fullImportRequired, fullSynchronizationRequired, exportsHeld }: Connector): string {
  return [
    ...(exportsHeld ? [colors.red("approval of its export plan")] : []),
    ...(fullImportRequired ? ["full import"] : []),
    ...(fullSynchronizationRequired ? ["full synchronization"] : []),
  ].join(", ");
}

/** `add 3, delete 1`, or `none` */
function changes(counts: Changes): string {
  const some = Object.entries(counts).filter(([, number]) => number !== 0);
  return some.map(([kind, number]) => `${kind} ${count(number)}`).join(", ") || "none";
}

function count(number: number | undefined): string {
  return (number ?? 0).toLocaleString("en-US");
}

// ---- connector space ---------------------------------------------------------------------------------------------

export function describeObjects(objects: readonly ConnectorSpaceItem[]): string {
  return tableOf(
    ["Anchor", "DN", "State", "Pending import", "Pending export", "Unconfirmed", "Error"],
    objects.map((object) => [
      object.anchor ?? `(not yet in the directory; id ${object.id})`,
      // Graph has no DNs: there the anchor stands for it.
      object.dn === object.anchor ? "" : object.dn,
      object.state,
      object.pendingImport ?? "",
      object.pendingExport ?? "",
      object.unconfirmedExport ?? "",
      object.errorCode === null ? "" : colors.red(object.errorCode),
    ]),
  );
}

type Column = readonly [title: string, values: ReadonlyMap<string, string>];

/** An object with one column for each of its images, as far as there are any. */
export function describeObject(object: ConnectorSpaceObject): string {
  const { tower, error, absence } = object;
  const { synchronized, pendingImport, pendingExport, escrowedExport, unconfirmedExport } = tower;
  const present: Column[] = [];
  if (synchronized !== null) present.push(["Synchronized", imageValues(synchronized)]);
  if (pendingImport !== null) {
    const { change, image } = pendingImport;
    present.push([`Pending import: ${change}`, image === null ? new Map() : imageValues(image)]);
  }
  if (pendingExport !== null)
    present.push([`Pending export: ${pendingExport.change}`, exportValues(pendingExport)]);
  if (escrowedExport !== null)
    present.push([`Being exported: ${escrowedExport.change}`, exportValues(escrowedExport)]);
  if (unconfirmedExport !== null) {
    const { change, newDn, expected } = unconfirmedExport;
    const attributes = Object.entries(expected).map(([name, value]) => ({ name, after: value }));
    present.push([
      `Not yet confirmed: ${change}`,
      exportValues({ change, attributes, ...(newDn === undefined ? {} : { newDn }) }),
    ]);
  }
  const names = [...new Set(present.flatMap(([, values]) => [...values.keys()]))];
  return [
    facts([
      ["Connector", object.connector],
      ["Object", `${object.objectType} ${object.dn}`],
      ["Anchor", object.anchor ?? undefined],
      ["Id", object.id],
      ["State", object.state],
      ["Metaverse object", object.metaverseId ?? undefined],
      ["On hold", object.hold === null ? undefined : describeHold(object.hold)],
      ["Disabled by hand, and kept so", object.held.join(", ")],
      ["Absent", absence === null ? undefined : `${absence.kind} since ${instant(absence.since)}`],
      [
        "Error",
        error === null
          ? undefined
          : `${colors.red(error.code)} in ${error.phase} since ${instant(error.firstOccurred)}, tried again ${error.retryCount} times${nextTry(error)}\n${error.message}`,
      ],
    ]),
    ...(names.length === 0
      ? []
      : [
          textTable(
            ["Attribute", ...present.map(([title]) => title)],
            names.map((name) => [name, ...present.map(([, values]) => values.get(name) ?? "")]),
          ),
        ]),
  ].join("\n");
}

function nextTry({ retryAt, quarantined }: NonNullable<ConnectorSpaceObject["error"]>): string {
  if (quarantined) return "; quarantined until it is let go";
  return retryAt === undefined ? "" : `; not before ${instant(retryAt)}`;
}

function imageValues({ dn, attributes }: Image): ReadonlyMap<string, string> {
  return new Map([
    ["dn", dn],
    ...Object.entries(attributes).map(([name, value]) => [name, valueText(name, value)] as const),
  ]);
}

function exportValues({ newDn, attributes }: PendingExport): ReadonlyMap<string, string> {
  return new Map([
    ...(newDn === undefined ? [] : [["dn", newDn] as const]),
    ...attributes.map((attribute) => [attribute.name, after(attribute.name, attribute.after)] as const),
  ]);
}

function after(name: string, value: Values | null | undefined): string {
  return value === undefined || value === null ? "(removed)" : valueText(name, value);
}

// ---- metaverse ---------------------------------------------------------------------------------------------------

/** Shown of every person that a search finds, besides what was searched for. */
const usualColumns = ["displayName", "accountName", "userPrincipalName"];
const listedMax = 48;

/** @param wanted the attributes to show; otherwise those of the clauses and the usual ones */
export function describeMetaverse(
  items: readonly MetaverseItem[],
  clauses: readonly string[],
  wanted?: readonly string[],
): string {
  const ofClauses = clauses.map((clause) => clause.trim().split(/\s+/)[0]!);
  const columns = wanted ?? [...new Set([...usualColumns, ...ofClauses])];
  return tableOf(
    ["Id", "Type", ...columns, "Connectors"],
    items.map(({ id, objectType, attributes, connectors }) => [
      id,
      objectType,
      ...columns.map((name) =>
        shortened(attributes[name] === undefined ? "" : valueText(name, attributes[name])),
      ),
      connectors.map(({ connector }) => connector).join(", "),
    ]),
  );
}

function shortened(value: string): string {
  const [line = ""] = value.split("\n");
  const cut = [...line].slice(0, listedMax).join("");
  return cut === value ? value : `${cut}…`;
}

/** Every value with where it comes from; offers of a lower precedence stand below the one that won. */
export function describeMetaverseObject(object: MetaverseObject): string {
  const { id, objectType, lineage, connectors, hold } = object;
  return [
    ...(hold === null ? [] : [describeHold(hold)]),
    facts([
      ["Metaverse object", `${objectType} ${id}`],
      ["Connectors", connectors.map(({ connector, dn }) => `${connector}  ${dn}`).join("\n") || "none"],
    ]),
    tableOf(
      ["Attribute", "Value", "Connector", "Rule", "Flow", "Precedence", "Since", "Why"],
      Object.entries(lineage).flatMap(([name, offers]) =>
        offers.map(({ value, connector, rule, precedence, since, won, expression, reason }) => [
          won ? name : colors.dim("  not used"),
          value === null ? "" : valueText(name, value),
          connector,
          rule,
          expression ?? "",
          String(precedence),
          since === null ? "" : instant(since),
          won && offers.length === 1 ? "" : reason,
        ]),
      ),
    ),
  ].join("\n");
}

// ---- values ------------------------------------------------------------------------------------------------------

/** A table without the columns in which nothing stands. */
function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return "None.";
  const used = head.map((_, column) => column === 0 || rows.some((row) => row[column] !== ""));
  const keep = (cells: readonly string[]) => cells.filter((_, column) => used[column]);
  return textTable(keep(head), rows.map(keep));
}

/** One line for each value; GUIDs and SIDs as Windows writes them. */
export function valueText(name: string, values: Values): string {
  const all = Array.isArray(values) ? (values as readonly Value[]) : [values as Value];
  return all.map((value) => one(name, value)).join("\n");
}

function one(name: string, value: Value): string {
  // Nothing that would move the cursor or colour the terminal, or make two lines of one value.
  if (typeof value !== "object") return String(value).replaceAll(/\p{Cc}/gu, "\ufffd");
  const [[mark, content] = ["", ""]] = Object.entries(value);
  if (mark !== "$bin") return content.replaceAll(/\p{Cc}/gu, "\ufffd");
  const bytes = Buffer.from(content, "base64");
  if (/guid$/i.test(name) && bytes.length === 16) return guid(bytes);
  if (/sid$/i.test(name) && bytes.length >= 8 && bytes.length === 8 + 4 * bytes[1]!) return sid(bytes);
  return content;
}

/** The first three parts are little-endian ([MS-DTYP] 2.3.4). */
function guid(bytes: Buffer): string {
  const hex = Buffer.concat([
    Buffer.from(bytes.subarray(0, 4)).reverse(),
    Buffer.from(bytes.subarray(4, 6)).reverse(),
    Buffer.from(bytes.subarray(6, 8)).reverse(),
    bytes.subarray(8),
  ]).toString("hex");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** [MS-DTYP] 2.4.2 */
function sid(bytes: Buffer): string {
  const parts = Array.from({ length: bytes[1]! }, (_, index) => bytes.readUInt32LE(8 + 4 * index));
  return ["S", bytes[0], bytes.readUIntBE(2, 6), ...parts].join("-");
}
