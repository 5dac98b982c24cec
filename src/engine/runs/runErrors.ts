import type { ConnectorSpaceObject } from "../core/model.ts";
import type { RunError } from "../stores/runs.ts";

/** An object's error as the run history shows it. */
export function runError(
  error: NonNullable<ConnectorSpaceObject["error"]>,
  object: ConnectorSpaceObject,
): RunError {
  return {
    code: error.code,
    anchor: object.anchor,
    dn: object.dn,
    rule: error.rule ?? null,
    attribute: error.attribute ?? null,
    message: error.message,
    firstOccurred: error.firstOccurred,
    retryCount: error.retryCount,
    ...(error.stack !== undefined && { stack: error.stack }),
  };
}
