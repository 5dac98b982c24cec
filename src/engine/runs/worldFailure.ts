import { ConnectorError } from "../ports/connector.ts";
import { StoreError } from "../ports/tables.ts";

interface WorldFailure {
  readonly status: string;
  readonly retry: boolean;
  readonly retryAfterMs?: number;
}

/** How a failure of the world ends the step if it lasts; null for a bug. `atStart`: nothing has been done yet. */
export function worldFailure(error: unknown, atStart: boolean): WorldFailure | null {
  if (error instanceof ConnectorError) {
    switch (error.kind) {
      case "unreachable":
      case "throttled":
        return {
          status: atStart ? "no-start-connection" : "stopped-connectivity",
          retry: true,
          ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
        };
      case "access-denied":
        return { status: "no-start-credentials", retry: true };
      case "permission-denied":
        return { status: "stopped-permission", retry: false };
      case "configuration":
        return { status: "no-start-bad-ma-configuration", retry: false };
      case "watermark-expired":
        return { status: "stopped-connectivity", retry: true };
    }
  }
  if (error instanceof StoreError && (error.kind === "unreachable" || error.kind === "conflict")) {
    return { status: "stopped-server", retry: true };
  }
  return null;
}
