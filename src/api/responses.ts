import type { HttpRequest, HttpResponseInit, InvocationContext } from "@azure/functions";
import { z } from "zod";
import { NotPossible, NotThere } from "../engine/byHand.ts";
import { FilterError } from "../engine/connectorSpaceSearch.ts";
import { ConfigurationError } from "../engine/core/configuration.ts";
import { closest } from "../engine/core/expression/problems.ts";
import { ProfileNotSupported, UnknownName } from "../engine/engine.ts";
import { PlanNotCurrent, StagingModeOn } from "../engine/exportPlan.ts";
import { ClauseError } from "../engine/metaverseSearch.ts";
import { ConnectorError } from "../engine/ports/connector.ts";
import { StoreError } from "../engine/ports/tables.ts";
import { BadContinuation } from "../engine/queries.ts";
import { NoRulesConnector, UnknownVersion } from "../engine/ruleVersions.ts";
import { RunInTheWay, type Trigger } from "../engine/stores/runs.ts";
import { admit, callerOf } from "./access.ts";
import { Problem } from "./problem.ts";

export { callerOf, Problem };

/** Every `code` that a problem document may have, with its title. */
export const problemTitles: Readonly<Record<string, string>> = {
  "bad-request": "The request cannot be understood",
  "not-found": "Not found",
  "unknown-connector": "Unknown connector",
  "unknown-profile": "Unknown run profile",
  "unknown-cycle": "Unknown cycle",
  "run-in-progress": "A run is in the way",
  "profile-not-supported": "The connector cannot do this",
  "run-has-ended": "The run has ended",
  "already-connected": "The object is connected already",
  "import-not-acceptable": "The import cannot be accepted",
  "plan-not-current": "The export plan is not current",
  "staging-mode": "Staging mode is on",
  "invalid-clause": "The search clause cannot be read",
  "invalid-rules": "The rules do not check",
  "unknown-version": "Unknown version of the rules",
  "no-rules-connector": "There is no rules connector",
  "invalid-expression": "The expression cannot be evaluated",
  "directory-unavailable": "A directory does not answer",
  "storage-unavailable": "The storage does not answer",
  "not-signed-in": "Nobody is signed in",
  "not-allowed": "A role is missing",
  "too-many-requests": "Too many calls",
  "authentication-off": "Authentication is set up in part only",
  "internal-error": "Something went wrong",
};

/** Answers are data: never kept, guessed at, framed or run. */
const headers = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "strict-transport-security": "max-age=31536000",
  "x-content-type-options": "nosniff",
};

export function json(body: unknown, status = 200, more: Record<string, string> = {}): HttpResponseInit {
  return { status, jsonBody: body, headers: { ...headers, ...more } };
}

function problemDocument({ status, code, message, more }: Problem): HttpResponseInit {
  const document = {
    type: "about:blank",
    title: problemTitles[code] ?? code,
    status,
    code,
    detail: message,
    ...more,
  };
  const { retryAfterSeconds } = more;
  return {
    status,
    body: JSON.stringify(document),
    headers: {
      ...headers,
      "content-type": "application/problem+json",
      ...(retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) }),
    },
  };
}

function problemOf(error: unknown): Problem | null {
  if (error instanceof Problem) return error;
  if (error instanceof RunInTheWay)
    return new Problem(
      409,
      "run-in-progress",
      error.message,
      error.runId === null ? {} : { runId: error.runId },
    );
  if (error instanceof UnknownName) {
    const suggestion = closest(/"(.*)"/.exec(error.message)?.[1] ?? "", [...error.known]);
    const suggestions =
      suggestion === undefined
        ? error.known
        : [suggestion, ...error.known.filter((one) => one !== suggestion)];
    const hint =
      suggestion === undefined
        ? `There are: ${error.known.join(", ")}.`
        : `Did you mean ${JSON.stringify(suggestion)}?`;
    return new Problem(404, `unknown-${error.what}`, `${error.message} ${hint}`, { suggestions });
  }
  if (error instanceof NotThere) return new Problem(404, "not-found", error.message);
  if (error instanceof NotPossible) return new Problem(409, error.code, error.message);
  if (error instanceof ProfileNotSupported) return new Problem(422, "profile-not-supported", error.message);
  if (error instanceof PlanNotCurrent) return new Problem(409, "plan-not-current", error.message);
  if (error instanceof StagingModeOn) return new Problem(409, "staging-mode", error.message);
  if (error instanceof ConfigurationError)
    return new Problem(422, "invalid-rules", error.message, { ruleProblems: error.problems });
  if (error instanceof UnknownVersion) return new Problem(404, "unknown-version", error.message);
  if (error instanceof NoRulesConnector) return new Problem(409, "no-rules-connector", error.message);
  if (error instanceof ClauseError) return new Problem(400, "invalid-clause", error.message);
  if (error instanceof FilterError) return new Problem(400, "bad-request", error.message);
  if (error instanceof BadContinuation) return new Problem(400, "bad-request", error.message);
  if (error instanceof ConnectorError) return new Problem(503, "directory-unavailable", error.message);
  if (error instanceof StoreError && error.kind === "bad-continuation")
    return new Problem(400, "bad-request", error.message);
  if (error instanceof StoreError) return new Problem(503, "storage-unavailable", error.message);
  return null;
}

type Handler = (request: HttpRequest, context: InvocationContext) => Promise<HttpResponseInit>;

/** Turns whatever a handler throws into a problem document; a bug becomes a 500 without its inside. */
export function answering(handler: Handler): Handler {
  return async (request, context) => {
    try {
      admit(context.functionName, request);
      return await handler(request, context);
    } catch (error) {
      const problem = problemOf(error);
      if (problem !== null) return problemDocument(problem);
      context.error(error);
      return problemDocument(
        new Problem(
          500,
          "internal-error",
          `This is a bug in the engine. Its trace is in the log of invocation ${context.invocationId}.`,
        ),
      );
    }
  };
}

const bodyMaxBytes = 256 * 1024;
/** Rule sets are the largest thing that anybody sends. */
export const rulesMaxBytes = 8 * 1024 * 1024;

/** A parameter of the route. The platform decodes it but for `%2F`, which an anchor or a DN may hold. */
export function param(request: HttpRequest, name: string): string {
  return (request.params[name] ?? "").replace(/%2f/gi, "/");
}

/** The request's JSON body by a schema. @throws Problem */
export async function body<T>(
  request: HttpRequest,
  schema: z.ZodType<T>,
  maxBytes = bodyMaxBytes,
): Promise<T> {
  const text = await request.text();
  if (Buffer.byteLength(text) > maxBytes)
    throw new Problem(413, "bad-request", `The body is larger than ${maxBytes} bytes.`);
  let value: unknown;
  try {
    value = text === "" ? {} : JSON.parse(text);
  } catch {
    throw new Problem(400, "bad-request", "The body is not JSON.");
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new Problem(400, "bad-request", z.prettifyError(parsed.error));
  return parsed.data;
}

const defaultLimit = 100;
const limitMax = 1000;

/** `limit` and `continuation` of a list. @throws Problem */
export function paging(request: HttpRequest): {
  readonly limit: number;
  readonly continuation: string | undefined;
} {
  const text = request.query.get("limit");
  const limit = text === null ? defaultLimit : Number(text);
  if (!Number.isInteger(limit) || limit < 1 || limit > limitMax) {
    throw new Problem(
      400,
      "bad-request",
      `limit is ${JSON.stringify(text)}; give a whole number from 1 to ${limitMax}.`,
    );
  }
  return { limit, continuation: request.query.get("continuation") ?? undefined };
}

/** For the audit. A function key says nothing of who holds it; then at least the way in is known. */
export function whoIs(request: HttpRequest): string {
  return callerOf(request) ?? triggerOf(request);
}

/** The command line and the local platform say who they are; everybody else is http. */
export function triggerOf(request: HttpRequest): Trigger {
  const named = request.headers.get("x-vestibule-trigger");
  return named === "cli" || named === "start" ? named : "http";
}
