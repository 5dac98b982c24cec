/** Step 5: what a pending export counts as, and what its result makes of the object. */
import { createHash } from "node:crypto";
import type { ExportResult, ObjectTypeSchema } from "../ports/connector.ts";
import { own } from "./flow.ts";
import {
  type ConnectorSpaceObject,
  type EscrowedExport,
  type ExportRetry,
  importedImage,
  type ObjectError,
  type PendingExport,
  type UnconfirmedExport,
} from "./model.ts";
import { refusalOf, withoutErrorOf } from "./objectErrors.ts";
import { syntaxesOf } from "./schema.ts";
import { type AttributeValue, attributesEqual, attributesToJson, dnKey } from "./values.ts";

/** How the plan counts a change. `adopt`: the first change of an account that was joined, not made. */
export type ExportKind = "add" | "adopt" | "update" | "rename" | "enable" | "disable" | "delete";

/** ADS_UF_ACCOUNTDISABLE, the bit of userAccountControl that disables an account ([MS-ADTS] 2.2.16). */
export const accountDisable = 2n;

/** Whether the values say of an account that it is disabled. */
export function isDisabled(values: Readonly<Record<string, AttributeValue | null>>): boolean {
  return Object.entries(values).some(([name, value]) => disabled(name, value ?? undefined) === true);
}

function disabled(name: string, value: AttributeValue | undefined): boolean | null {
  if (name === "userAccountControl" && typeof value === "bigint") return (value & accountDisable) !== 0n;
  if (name === "accountEnabled" && typeof value === "boolean") return !value;
  return null;
}

/** A change that disables counts as a disable, whatever else it does; adopting goes before enabling and renaming. */
export function exportKind(
  { exported }: Pick<ConnectorSpaceObject, "exported">,
  pending: PendingExport,
): ExportKind {
  if (pending.change !== "update") return pending.change;
  const switched = pending.attributes.flatMap(({ name, before, after }) => {
    const now = disabled(name, after);
    return now === null || now === disabled(name, before) ? [] : ([now ? "disable" : "enable"] as const);
  })[0];
  if (switched === "disable") return switched;
  if (!exported) return "adopt";
  return switched ?? (pending.newDn === undefined ? "update" : "rename");
}

/** Why a pending export is not sent now: it was refused before, and nothing has changed since. */
export function resting({ escrow, pendingExport, error }: ConnectorSpaceObject, now: string): boolean {
  const retry = refusalOf(error)?.retry;
  if (escrow !== null || pendingExport === null || retry === undefined) return false;
  const { at, digest } = retry;
  return (at === null || at > now) && digest === exportDigest(pendingExport);
}

/** How refused changes are tried again; times in milliseconds. */
export interface ExportRetries {
  /** The wait after the third refusal in a row; each further one doubles it. The first two wait for nothing. */
  readonly delayMs: number;
  readonly delayMaxMs: number;
  /** After so many refusals in a row the object is quarantined. */
  readonly quarantineAfter: number;
}

const refusalsBeforeWaiting = 2;

function retryAfter(
  sent: PendingExport,
  refusals: number,
  { delayMs, delayMaxMs, quarantineAfter }: ExportRetries,
  now: string,
): ExportRetry | undefined {
  const digest = exportDigest(sent);
  if (refusals >= quarantineAfter) return { digest, at: null };
  if (refusals <= refusalsBeforeWaiting) return undefined;
  const delay = Math.min(delayMs * 2 ** (refusals - refusalsBeforeWaiting - 1), delayMaxMs);
  return { digest, at: new Date(Date.parse(now) + delay).toISOString() };
}

/** 22 characters that change when anything that would be sent changes. */
export function exportDigest(pending: PendingExport): string {
  const attributes = pending.attributes.map(({ name, before, after }) => [
    name,
    before === undefined ? null : attributesToJson({ before }).before,
    after === undefined ? null : attributesToJson({ after }).after,
  ]);
  return createHash("sha256")
    .update(JSON.stringify([pending.change, pending.newDn ?? null, attributes]))
    .digest("base64url")
    .slice(0, 22);
}

/** Before sending: what is being sent stands in escrow until its outcome is known. */
export function escrowed(object: ConnectorSpaceObject, runId: string): ConnectorSpaceObject {
  if (object.escrow !== null) return { ...object, escrow: { ...object.escrow, runId } };
  return object.pendingExport === null
    ? object
    : { ...object, escrow: { ...object.pendingExport, runId }, pendingExport: null };
}

export type ExportCounter = "exportAdd" | "exportUpdate" | "exportRename" | "exportDelete" | "exportFailure";

export interface ExportOutcome {
  readonly object: ConnectorSpaceObject;
  readonly counter: ExportCounter;
  readonly error: ObjectError | null;
}

export interface ExportOptions {
  readonly schemas: readonly ObjectTypeSchema[];
  readonly retries: ExportRetries;
  /** ISO 8601. */
  readonly now: string;
  /** Attributes of an add that were not sent yet: they refer to objects that are added after it. */
  readonly without?: readonly string[];
}

/** After sending. A refused change stays pending, with the reason; a later export tries it again. */
export function afterExport(
  object: ConnectorSpaceObject,
  result: ExportResult,
  { schemas, retries, now, without = [] }: ExportOptions,
): ExportOutcome {
  const sent = object.escrow!;
  const { runId: _, ...pending } = sent;
  const later = pending.attributes.filter(({ name }) => without.includes(name));
  const done = pending.attributes.filter(({ name }) => !without.includes(name));
  if (result.kind === "failed") {
    const repeated = refusalOf(object.error);
    const retryCount = repeated === null ? 0 : repeated.retryCount + 1;
    const retry = retryAfter(pending, retryCount + 1, retries, now);
    const error: ObjectError = {
      phase: "export",
      code: result.code,
      message: result.message,
      firstOccurred: repeated?.firstOccurred ?? now,
      retryCount,
      ...(retry !== undefined && { retry }),
    };
    return {
      object: { ...object, escrow: null, pendingExport: pending, error },
      counter: "exportFailure",
      error,
    };
  }
  const counter: ExportCounter =
    sent.change === "add"
      ? "exportAdd"
      : sent.change === "delete"
        ? "exportDelete"
        : sent.newDn === undefined
          ? "exportUpdate"
          : "exportRename";
  return {
    object: {
      ...object,
      anchor: result.anchor,
      dn: result.dn,
      escrow: null,
      pendingExport: later.length === 0 ? null : { ...pending, change: "update", attributes: later },
      unconfirmed: unconfirmedAfter(object, { ...sent, attributes: done }, schemas),
      exported: object.metaverseId !== null,
      error: withoutErrorOf(object.error, "export"),
    },
    counter,
    error: null,
  };
}

/**
 * What the next import is to show and the last one did not. When the answer to an export was lost, an import may have
 * seen it before it was settled; no delta import would show it a second time.
 */
function unconfirmedAfter(
  object: ConnectorSpaceObject,
  sent: EscrowedExport,
  schemas: readonly ObjectTypeSchema[],
): UnconfirmedExport | null {
  if (sent.change === "delete") return { change: "delete", expected: {} };
  const { writeOnly, syntax } = syntaxesOf(schemas, object.objectType);
  const image = importedImage(object);
  const expected: Record<string, AttributeValue | null> = { ...object.unconfirmed?.expected };
  for (const { name, after } of sent.attributes) {
    if (writeOnly(name)) continue;
    if (image !== null && attributesEqual(own(image.attributes, name), after, syntax(name)))
      delete expected[name];
    else expected[name] = after ?? null;
  }
  const wantedDn = sent.newDn ?? object.unconfirmed?.newDn;
  const newDn = wantedDn !== undefined && dnKey(wantedDn) !== dnKey(image?.dn ?? "") ? wantedDn : undefined;
  if (image !== null && newDn === undefined && Object.keys(expected).length === 0) return null;
  const change = object.unconfirmed?.change === "add" ? "add" : sent.change;
  return { change, ...(newDn === undefined ? {} : { newDn }), expected };
}
