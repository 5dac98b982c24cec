/** Step 5: what a pending export counts as, and what its result makes of the object. */
import { createHash } from "node:crypto";
import type { ExportResult, ObjectTypeSchema } from "../ports/connector.ts";
import { own } from "./flow.ts";
import {
  type ConnectorSpaceObject,
  type EscrowedExport,
  importedImage,
  type ObjectError,
  type PendingExport,
  type UnconfirmedExport,
} from "./model.ts";
import { syntaxesOf } from "./schema.ts";
import { type AttributeValue, attributesEqual, attributesToJson, dnKey } from "./values.ts";

/** How the plan and the limits count a change. */
export type ExportKind = "add" | "update" | "rename" | "enable" | "disable" | "delete";

/** ADS_UF_ACCOUNTDISABLE, [MS-ADTS] 2.2.16. */
const accountDisable = 2n;

function disabled(name: string, value: AttributeValue | undefined): boolean | null {
  if (name === "userAccountControl" && typeof value === "bigint") return (value & accountDisable) !== 0n;
  if (name === "accountEnabled" && typeof value === "boolean") return !value;
  return null;
}

/** A change that disables counts as a disable, whatever else it does; so does one that enables. */
export function exportKind(pending: PendingExport): ExportKind {
  if (pending.change !== "update") return pending.change;
  for (const { name, before, after } of pending.attributes) {
    const now = disabled(name, after);
    if (now === null || now === disabled(name, before)) continue;
    return now ? "disable" : "enable";
  }
  return pending.newDn === undefined ? "update" : "rename";
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

/** After sending. A refused change stays pending, with the reason; the next export tries it again. */
export function afterExport(
  object: ConnectorSpaceObject,
  result: ExportResult,
  schemas: readonly ObjectTypeSchema[],
  now: string,
): ExportOutcome {
  const sent = object.escrow!;
  const { runId: _, ...pending } = sent;
  if (result.kind === "failed") {
    const repeated = object.error?.phase === "export" ? object.error : null;
    const error: ObjectError = {
      phase: "export",
      code: result.code,
      message: result.message,
      firstOccurred: repeated?.firstOccurred ?? now,
      retryCount: repeated === null ? 0 : repeated.retryCount + 1,
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
      unconfirmed: unconfirmedAfter(object, sent, schemas),
      error: object.error?.phase === "export" ? null : object.error,
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
