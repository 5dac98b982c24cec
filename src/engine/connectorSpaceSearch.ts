/** How a connector space is searched: by pending changes, state, DN and anchor, all of which must hold. */

import { formatGuid, parseGuid } from "./core/expression/functions/conversion.ts";
import { closest } from "./core/expression/problems.ts";
import type { ConnectorSpaceObject } from "./core/model.ts";
import { dnKey } from "./core/values.ts";

const states = [
  "connector",
  "explicitConnector",
  "disconnector",
  "explicitDisconnector",
  "filteredDisconnector",
] as const;
type State = (typeof states)[number];

/** `any` is every pending change, `none` is without one; `rename` is an update that also changes the DN. */
const pendingExports = ["add", "update", "rename", "delete", "any", "none"] as const;
const pendingImports = [...pendingExports, "deleteAdd"] as const;

export interface ConnectorSpaceFilter {
  readonly pendingImport?: (typeof pendingImports)[number];
  readonly pendingExport?: (typeof pendingExports)[number];
  readonly state?: State;
  readonly dn?: string;
  readonly anchor?: string;
}

/** A filter that asks for what there is not; the message says what there is. */
export class FilterError extends Error {
  constructor(name: string, value: string, allowed: readonly string[]) {
    const near = closest(value, [...allowed]);
    super(
      `${name} is ${JSON.stringify(value)}; there are ${allowed.join(", ")}.` +
        (near === undefined ? "" : ` Did you mean ${near}?`),
    );
    this.name = "FilterError";
  }
}

/** @param given the values of the query by name @throws FilterError */
export function parseFilter(
  given: Readonly<Partial<Record<keyof ConnectorSpaceFilter, string>>>,
): ConnectorSpaceFilter {
  const { pendingImport, pendingExport, state, dn, anchor } = given;
  return {
    ...(pendingImport === undefined
      ? {}
      : { pendingImport: oneOf("pendingImport", pendingImport, pendingImports) }),
    ...(pendingExport === undefined
      ? {}
      : { pendingExport: oneOf("pendingExport", pendingExport, pendingExports) }),
    ...(state === undefined ? {} : { state: oneOf("state", state, states) }),
    ...(dn === undefined ? {} : { dn }),
    ...(anchor === undefined ? {} : { anchor }),
  };
}

function oneOf<Name extends string>(filter: string, value: string, allowed: readonly Name[]): Name {
  const found = allowed.find((name) => name.toLowerCase() === value.toLowerCase());
  if (found === undefined) throw new FilterError(filter, value, allowed);
  return found;
}

/** Everything but the anchor, by which the object was found. */
export function meetsFilter(
  object: ConnectorSpaceObject,
  { pendingImport, pendingExport, state, dn }: ConnectorSpaceFilter,
): boolean {
  const exporting = object.escrow ?? object.pendingExport;
  const importsRename =
    object.pendingImport?.change === "update" &&
    object.synchronized !== null &&
    dnKey(object.pendingImport.image?.dn ?? object.dn) !== dnKey(object.synchronized.dn);
  return (
    (pendingImport === undefined || isPending(object.pendingImport?.change, importsRename, pendingImport)) &&
    (pendingExport === undefined ||
      isPending(exporting?.change, exporting?.newDn !== undefined, pendingExport)) &&
    (state === undefined || isOfState(stateOf(object), state)) &&
    (dn === undefined || dnKey(object.dn) === dnKey(dn))
  );
}

function isPending(change: string | undefined, renames: boolean, wanted: string): boolean {
  if (wanted === "none") return change === undefined;
  if (wanted === "rename") return renames;
  return change !== undefined && (wanted === "any" || change === wanted);
}

export function stateOf(object: ConnectorSpaceObject): State {
  if (object.metaverseId !== null) return object.explicitConnector ? "explicitConnector" : "connector";
  return object.disconnector === "normal" ? "disconnector" : `${object.disconnector}Disconnector`;
}

/** `connector` and `disconnector` cover their special kinds. */
function isOfState(state: State, wanted: State): boolean {
  if (wanted === "connector") return state === "connector" || state === "explicitConnector";
  return state === wanted || (wanted === "disconnector" && state.endsWith("Disconnector"));
}

/** The anchors that a text may mean: itself, a GUID as people write it, and both in base64url (a GUID as AD's bytes). */
export function* anchorsOf(text: string): Generator<string> {
  yield text;
  const guid = parseGuid(text);
  if (guid !== undefined) yield formatGuid(guid);
  if (!/^[\w-]+=*$/.test(text)) return;
  const bytes = Buffer.from(text, "base64url");
  yield bytes.toString("utf8");
  if (bytes.length === 16) yield formatGuid(bytes);
}
