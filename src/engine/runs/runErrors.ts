import type { ConnectorSpaceObject } from "../core/model.ts";
import type { RunError } from "../stores/runs.ts";

/** An error of an object with this anchor and DN, as the run history shows it. */
export function runError(
  error: NonNullable<ConnectorSpaceObject["error"]>,
  { anchor, dn }: Pick<RunError, "anchor" | "dn">,
): RunError {
  return {
    code: error.code,
    anchor,
    dn,
    rule: error.rule ?? null,
    attribute: error.attribute ?? null,
    message: error.message,
    firstOccurred: error.firstOccurred,
    retryCount: error.retryCount,
    ...(error.stack !== undefined && { stack: error.stack }),
  };
}
