/** Faults ordered by tests: what the service does on bad days, at the request where the test wants it. */

import type { GraphAnswer, GraphRequest } from "./answers.ts";
import { failure } from "./answers.ts";
import { GraphFault } from "./odata.ts";
import type { Json } from "./properties.ts";

export interface Fault {
  /** Any method when absent. */
  readonly method?: string;
  /** Beginning of path and query as sent, e.g. `/v1.0/users/delta?$skiptoken`; any request when absent. */
  readonly pathPattern?: string;
  /** Answers with this status; absent, the request is only delayed, reset or truncated. */
  readonly status?: number;
  /** Seconds, or an HTTP date, for the Retry-After header. */
  readonly retryAfter?: number | string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Instead of the service's usual body for the status. */
  readonly body?: Json;
  /** Closes the connection without an answer. */
  readonly reset?: boolean;
  /** Sends half of the true answer, then closes the connection. */
  readonly truncate?: boolean;
  readonly delayMs?: number;
  /** Requests that it strikes, default 1. */
  readonly times?: number;
  /** Matching requests to let pass first, default 0. */
  readonly skip?: number;
}

const usualErrors: Readonly<Record<number, readonly [code: string, message: string]>> = {
  400: ["BadRequest", "Bad request."],
  401: ["InvalidAuthenticationToken", "Lifetime validation failed, the token is expired."],
  403: ["Authorization_RequestDenied", "Insufficient privileges to complete the operation."],
  404: ["Request_ResourceNotFound", "Resource does not exist."],
  409: ["Conflict", "Conflict."],
  410: ["resyncRequired", "Resync required."],
  429: ["TooManyRequests", "Too many requests."],
  500: ["InternalServerError", "Internal server error."],
  502: ["BadGateway", "Bad gateway."],
  503: ["ServiceUnavailable", "The service is temporarily unavailable."],
  504: ["GatewayTimeout", "The gateway timed out."],
};

export interface FaultQueue {
  add(faults: readonly Fault[]): void;
  clear(): void;
  /** The fault that strikes this request, if one does; the first ordered strikes first. */
  take(method: string, target: string): Fault | undefined;
  readonly waiting: number;
}

export function faultQueue(): FaultQueue {
  let queue: { fault: Fault; skip: number; times: number }[] = [];
  return {
    add(faults) {
      queue.push(...faults.map((fault) => ({ fault, skip: fault.skip ?? 0, times: fault.times ?? 1 })));
    },
    clear() {
      queue = [];
    },
    take(method, target) {
      const entry = queue.find(
        ({ fault }) =>
          (fault.method === undefined || fault.method.toUpperCase() === method) &&
          target.startsWith(fault.pathPattern ?? ""),
      );
      if (entry === undefined) return undefined;
      if (entry.skip > 0) {
        entry.skip -= 1;
        return undefined;
      }
      entry.times -= 1;
      if (entry.times <= 0) queue = queue.filter((other) => other !== entry);
      return entry.fault;
    },
    get waiting() {
      return queue.length;
    },
  };
}

/** The answer that a fault with a status gives. */
export function faultAnswer(fault: Fault, request: Pick<GraphRequest, "headers">): GraphAnswer | undefined {
  if (fault.status === undefined) return undefined;
  const [code, message] = usualErrors[fault.status] ?? ["UnknownError", "Unknown error."];
  const headers = {
    ...(fault.retryAfter === undefined ? {} : { "Retry-After": String(fault.retryAfter) }),
    ...fault.headers,
  };
  const answer = failure(request, new GraphFault(fault.status, code, message, headers));
  return fault.body === undefined ? answer : { ...answer, body: fault.body };
}
