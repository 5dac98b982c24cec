/** What Graph's refusals and a broken connection mean for the caller. */
import { ConnectorError } from "../../ports/connector.ts";

/** An answer of the service, or of one request inside a `$batch`. Header names are lower-case. */
export interface GraphAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** The parsed body; undefined when there is none, or none in JSON. */
  readonly body: unknown;
}

/** The service asks for patience; 509 is a limit of bandwidth. */
const isThrottled = (status: number) => status === 429 || status === 509;

/**
 * Worth asking again after a while: https://learn.microsoft.com/graph/errors. Gateways before the service have more
 * numbers than those; what the service cannot do (501) and has no room for (507) it cannot a moment later either.
 */
export function isTransient(status: number): boolean {
  return status === 408 || status === 429 || (status >= 500 && ![501, 505, 507].includes(status));
}

/** Retry-After in milliseconds, given in seconds or as a date (RFC 9110 section 10.2.3). */
export function retryAfterMs(headers: GraphAnswer["headers"], now = Date.now()): number | undefined {
  const text = headers["retry-after"]?.trim();
  if (text === undefined || text === "") return undefined;
  if (/^\d+(\.\d+)?$/.test(text)) return Math.ceil(Number(text) * 1000);
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/**
 * The service's own words for "that token is no longer honoured": a delta token of more than seven days, a reset
 * (https://learn.microsoft.com/graph/delta-query-overview), a page token that was left lying for too long
 * (https://github.com/microsoftgraph/msgraph-sdk-dotnet/issues/2254). A token that the service cannot read at all has
 * no code of its own, only Request_BadRequest and words.
 */
const expiredTokenCode =
  /resyncRequired$|^resync|^syncState|Expired\w*Token$|Invalid(Delta|Skip|Sync|Page)Token/i;
const expiredTokenText = /badly formed token|\b(delta|skip|sync|page) ?(token|link)\b/i;

/** The error that an answer other than 2xx stands for. */
export function answerFailure(answer: GraphAnswer): ConnectorError {
  const { status } = answer;
  const { code, text } = errorOf(answer);
  const requestId = answer.headers["request-id"];
  const said = `Graph answered ${status}${text === "" ? "" : ` (${text})`}${
    requestId === undefined ? "" : `, request ${requestId}`
  }`;
  if (status === 410 || expiredTokenCode.test(code) || (status === 400 && expiredTokenText.test(text))) {
    return new ConnectorError("watermark-expired", `${said}. A full import is needed.`);
  }
  if (status === 401) {
    return new ConnectorError(
      "access-denied",
      `${said}. Check the function app's managed identity, or GRAPH_ACCESS_TOKEN where that is used.`,
    );
  }
  if (status === 403) {
    return new ConnectorError(
      "permission-denied",
      `${said}. Grant the managed identity the application permission User.Read.All (User.ReadWrite.All where the connector is writable), GroupMember.Read.All where groups limit it, and Group.Read.All where it imports groups (Group.ReadWrite.All where it exports them).`,
    );
  }
  if (isThrottled(status)) {
    const delay = retryAfterMs(answer.headers);
    return new ConnectorError("throttled", `${said}.`, delay === undefined ? {} : { retryAfterMs: delay });
  }
  if (isTransient(status)) {
    const delay = retryAfterMs(answer.headers);
    return new ConnectorError("unreachable", `${said}.`, delay === undefined ? {} : { retryAfterMs: delay });
  }
  if (status >= 400 && status !== 404) {
    return new ConnectorError(
      "configuration",
      `${said}. Check the connector's attributes and filter, and GRAPH_BASE_URL.`,
    );
  }
  return new ConnectorError("unreachable", `${said}, which is not Graph's. Check GRAPH_BASE_URL.`);
}

/** The code and a short text without links: a link of the service may hold a token. */
export function errorOf(answer: GraphAnswer): { code: string; text: string } {
  const error = (answer.body as { error?: { code?: unknown; message?: unknown } } | undefined)?.error;
  const code = typeof error?.code === "string" ? error.code : "";
  const message = typeof error?.message === "string" ? error.message : "";
  const text = [code, message.replace(/https?:\S+/g, "…").slice(0, 300)]
    .filter((part) => part !== "")
    .join(": ");
  return { code, text };
}

/** A 2xx answer that cannot be Graph's whole answer: cut, or not JSON. */
export class BrokenAnswerError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "BrokenAnswerError";
  }
}

export interface ConnectionFailure {
  readonly error: ConnectorError;
  /** Whether the very same request may well succeed in a moment. */
  readonly transient: boolean;
}

const addressCodes = new Set(["ENOTFOUND", "ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EADDRNOTAVAIL"]);
const certificateCode =
  /^(CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS_CERT|INVALID_CA|HOSTNAME_MISMATCH)/;
const protocolCode = /^(EPROTO|ERR_SSL_|ERR_TLS_)/;

/** What a request that got no answer ran into. */
export function connectionFailure(cause: unknown, baseUrl: string): ConnectionFailure {
  const { code = "", message } = rootCause(cause);
  const permanent = (text: string) => ({
    error: new ConnectorError("unreachable", text, { cause }),
    transient: false,
  });
  if (code === "CERT_HAS_EXPIRED" || code === "CERT_NOT_YET_VALID") {
    const when = code === "CERT_HAS_EXPIRED" ? "has expired" : "is not valid yet";
    return permanent(
      `The certificate of ${baseUrl} ${when} (${code}). Check the clock of this machine, and whether something in between shows a certificate of its own.`,
    );
  }
  if (certificateCode.test(code)) {
    return permanent(
      `The certificate of ${baseUrl} is not trusted (${code}). Set GRAPH_CA_CERTIFICATE to the authority that ` +
        "issued it, and check that GRAPH_BASE_URL has the name in it.",
    );
  }
  if (protocolCode.test(code)) {
    return permanent(`${baseUrl} does not speak TLS as expected (${code}). Check GRAPH_BASE_URL.`);
  }
  if (addressCodes.has(code)) {
    return permanent(`${baseUrl} cannot be reached (${code}). Check GRAPH_BASE_URL and the network.`);
  }
  return {
    error: new ConnectorError(
      "unreachable",
      `The connection to ${baseUrl} failed (${code === "" ? message : code}). Check GRAPH_BASE_URL and the network.`,
      { cause },
    ),
    transient: true,
  };
}

/** Node tries several addresses and wraps what each said. */
function rootCause(cause: unknown): { code?: string; message: string } {
  if (cause instanceof AggregateError && cause.errors.length > 0) return rootCause(cause.errors[0]);
  if (cause instanceof Error) {
    const { code } = cause as NodeJS.ErrnoException;
    return { message: cause.message, ...(code === undefined ? {} : { code }) };
  }
  return { message: String(cause) };
}
