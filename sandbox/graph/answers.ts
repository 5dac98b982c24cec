/** What requests and answers of the sandbox have in common, whatever they are about. */

import { randomUUID } from "node:crypto";
import type { QueryOptions } from "./odata.ts";
import { badRequest, GraphFault, parseSelect, unsupportedQuery } from "./odata.ts";
import type { Json, UserProperties } from "./properties.ts";
import { unsetValue, userResource } from "./properties.ts";
import type { StateTokens } from "./stateTokens.ts";
import { isoSeconds } from "./tenant.ts";

export interface GraphRequest {
  readonly method: string;
  /** The path as sent, still percent-encoded, without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: Json | undefined;
  /** Scheme, host and port of links in answers. */
  readonly origin: string;
}

export interface GraphAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** A string goes out as plain text, anything else as JSON. */
  readonly body?: Json;
}

export const defaultPageSize = 100;

export function resourceNotFound(key: string): GraphFault {
  return new GraphFault(
    404,
    "Request_ResourceNotFound",
    `Resource '${key}' does not exist or one of its queried reference-property objects are not present.`,
  );
}

/** An error answer; `innerError` repeats the client's own request id, as the service does. */
export function failure(request: Pick<GraphRequest, "headers">, fault: GraphFault): GraphAnswer {
  const requestId = randomUUID();
  return {
    status: fault.status,
    headers: fault.headers,
    body: {
      error: {
        code: fault.code,
        message: fault.message,
        innerError: {
          date: isoSeconds(Date.now()).slice(0, 19),
          "request-id": requestId,
          "client-request-id": request.headers["client-request-id"] ?? requestId,
        },
      },
    },
  };
}

export function ok(body: Json): GraphAnswer {
  return { status: 200, headers: {}, body };
}

export function isEventual(request: GraphRequest): boolean {
  return request.headers.consistencylevel?.toLowerCase() === "eventual";
}

export function refuseOptions(
  options: QueryOptions,
  refusedOptions: readonly Parameters<QueryOptions["has"]>[0][],
): void {
  const option = refusedOptions.find((name) => options.has(name));
  if (option !== undefined) throw unsupportedQuery(`'${option}' is not supported by the service.`);
}

export function selection(options: QueryOptions, resource = userResource): string[] | undefined {
  const text = options.get("$select");
  return text === undefined || text === "" ? undefined : parseSelect(text, resource);
}

export function pageSize(options: QueryOptions, select: readonly string[] | undefined): number {
  const max = select?.includes("signInActivity") ? 500 : 999;
  const text = options.get("$top");
  if (text === undefined) return defaultPageSize;
  if (!/^\d+$/.test(text)) throw badRequest(`Invalid value '${text}' for $top query option found.`);
  const top = Number(text);
  if (top < 1 || top > max) {
    throw unsupportedQuery(`Invalid page size specified: '${text}'. Must be between 1 and ${max} inclusive.`);
  }
  return top;
}

/** The selected properties in the client's order; those without a value are null, or empty when collections. */
export function shown(
  properties: UserProperties,
  select: readonly string[] | undefined,
  resource = userResource,
): Record<string, Json> {
  const result: Record<string, Json> = {};
  for (const name of select ?? resource.defaultProperties) {
    if (resource.propertyTypes.get(name) === "navigation") continue;
    result[name] = properties[name] ?? unsetValue(name, resource);
  }
  return result;
}

/** Where in its list a page begins. */
export function position(tokens: StateTokens, options: QueryOptions): number {
  const token = options.get("$skiptoken");
  if (token === undefined) return 0;
  const state = tokens.open(token) as { kind?: string; next?: number } | undefined;
  if (state?.kind !== "list" || typeof state.next !== "number") {
    throw new GraphFault(400, "Request_BadRequest", "Badly formed token.");
  }
  return state.next;
}

/** What a directory object is to others: its type and its id. */
export interface Member {
  readonly id: string;
  readonly kind: "user" | "group";
}

export const memberItem = ({ id, kind }: Member): Json => ({ "@odata.type": `#microsoft.graph.${kind}`, id });

/** The id in `{"@odata.id": "https://…/directoryObjects/{id}"}`, or in one link of a list of them. */
export function linkedId(link: unknown): string {
  const [, id] = /\/v1\.0\/(?:directoryObjects|users|groups)\/([^/]+)$/i.exec(String(link)) ?? [];
  if (id === undefined)
    throw badRequest("A binary operator with incompatible types was detected: the link names no object.");
  return id.toLowerCase();
}

export function nextLink(request: GraphRequest, skipToken: string): string {
  const options = [...request.query]
    .filter(([name]) => name.toLowerCase() !== "$skiptoken")
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  return `${request.origin}${request.path}?${[...options, `$skiptoken=${skipToken}`].join("&")}`;
}

export function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    // A stray percent sign: the segment as it stands names nobody, which is the right answer.
    return segment;
  }
}
