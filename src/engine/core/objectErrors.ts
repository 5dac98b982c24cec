/**
 * The one error that an object shows. An error of an import or a synchronisation stands before the refusal of an export,
 * which waits behind it: a refused change rests, or is quarantined, whatever else goes wrong with its object meanwhile.
 */
import type { ObjectError } from "./model.ts";

/** Why the object's export was refused last; null when it was not. */
export function refusalOf(error: ObjectError | null): ObjectError | null {
  return error?.phase === "export" ? error : (error?.refusal ?? null);
}

/** An error of an import or a synchronisation, before what the object showed until now. */
export function withRefusal(error: ObjectError, last: ObjectError | null): ObjectError {
  const refusal = refusalOf(last);
  return refusal === null ? error : { ...error, refusal };
}

/** What an object shows when this kind of work has succeeded. */
export function withoutErrorOf(error: ObjectError | null, phase: ObjectError["phase"]): ObjectError | null {
  if (error === null) return null;
  if (phase !== "export") return error.phase === phase ? refusalOf(error) : error;
  if (error.phase === "export") return null;
  const { refusal, ...rest } = error;
  return refusal === undefined ? error : rest;
}
