/**
 * The handlers that every request to Graph passes, in place of the client's own. Those retry a POST, do not retry
 * a reset, keep one token through all attempts and cannot be given a certificate authority.
 *
 *   OutcomeHandler ─► RetryHandler ─► TokenHandler ─► HttpsHandler
 */

import type { IncomingMessage } from "node:http";
import { Agent, request } from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import type { Context, Middleware, MiddlewareOptions } from "@microsoft/microsoft-graph-client";
import type { ConnectorContext } from "../../ports/connector.ts";
import { ConnectorError } from "../../ports/connector.ts";
import { type ThrottledSignal, throttled } from "../../ports/signals.ts";
import type { ConnectionFailure, GraphAnswer } from "./failures.ts";
import { answerFailure, BrokenAnswerError, connectionFailure, isTransient } from "./failures.ts";

/** How long one request is pursued. The caller has more patience: it schedules its step again. */
export interface RetryPolicy {
  readonly attemptsMax: number;
  /** No attempt begins later than this after the first. */
  readonly budgetMs: number;
  readonly firstDelayMs: number;
  readonly delayMaxMs: number;
  /** The longest that all requests of one call of the connector wait together; then the caller schedules the rest. */
  readonly callBudgetMs: number;
}

/** How long the requests of a call have waited, waits side by side counted once. */
const waited = new WeakMap<ConnectorContext, { sumMs: number; untilMs: number }>();

/** Takes a wait out of the call's budget. @returns false when it is used up: the wait is the caller's then */
export function mayWait(policy: RetryPolicy, context: ConnectorContext, delayMs: number): boolean {
  const now = Date.now();
  const { sumMs, untilMs } = waited.get(context) ?? { sumMs: 0, untilMs: now };
  const sum = sumMs + Math.max(0, now + delayMs - Math.max(now, untilMs));
  if (sum > policy.callBudgetMs) return false;
  waited.set(context, { sumMs: sum, untilMs: Math.max(untilMs, now + delayMs) });
  return true;
}

/** Tells one attempt from the next when the service names no delay; the jitter keeps callers apart. */
export function growingDelayMs(policy: RetryPolicy, attempt: number): number {
  const full = Math.min(policy.delayMaxMs, policy.firstDelayMs * 2 ** (attempt - 1));
  return full * (0.5 + Math.random() / 2);
}

/** One request on its way through the handlers. */
export class Call implements MiddlewareOptions {
  /** Sent as it is: a next link is opaque, and the client would take it apart and put it together again. */
  readonly url: string;
  /** Sending it twice is safe: a read, whatever its method, or a write that says how things shall be. */
  readonly repeatable: boolean;
  readonly context: ConnectorContext;
  answer?: GraphAnswer;
  failure?: unknown;

  constructor(url: string, repeatable: boolean, context: ConnectorContext) {
    this.url = url;
    this.repeatable = repeatable;
    this.context = context;
  }
}

function callOf(context: Context): Call {
  return context.middlewareControl!.getMiddlewareOptions(Call) as Call;
}

abstract class Handler implements Middleware {
  protected next!: Middleware;

  setNext(next: Middleware): void {
    this.next = next;
  }

  abstract execute(context: Context): Promise<void>;
}

/** Keeps what went wrong: the client would turn every error into one of its own and drop the original. */
export class OutcomeHandler extends Handler {
  async execute(context: Context): Promise<void> {
    const call = callOf(context);
    try {
      await this.next.execute(context);
    } catch (cause) {
      call.failure = cause;
    }
    context.response = new Response(null, { status: 204 }); // the real one is in `call`
  }
}

/** Asks again after what passes by itself, for as long as the policy allows. */
export class RetryHandler extends Handler {
  readonly #policy: RetryPolicy;
  readonly #baseUrl: string;

  constructor(policy: RetryPolicy, baseUrl: string) {
    super();
    this.#policy = policy;
    this.#baseUrl = baseUrl;
  }

  async execute(context: Context): Promise<void> {
    const call = callOf(context);
    const begun = Date.now();
    for (let attempt = 1; ; attempt++) {
      const failure = await this.#attempt(context, call);
      if (failure === undefined) return;
      const delayMs = failure.error.retryAfterMs ?? growingDelayMs(this.#policy, attempt);
      const tooLate = Date.now() + delayMs - begun > this.#policy.budgetMs;
      // What was throttled was not begun, so even a write can be sent again.
      const repeatable = call.repeatable || failure.error.kind === "throttled";
      if (!failure.transient || !repeatable || attempt >= this.#policy.attemptsMax || tooLate) {
        throw failure.error;
      }
      if (!mayWait(this.#policy, call.context, delayMs)) throw failure.error;
      if (failure.error.kind === "throttled")
        throttled.publish({ system: "graph", waitMs: delayMs } satisfies ThrottledSignal);
      call.context.log(`${failure.error.message} Asking again in ${(delayMs / 1000).toFixed(1)} s.`);
      await sleep(
        delayMs,
        undefined,
        call.context.signal === undefined ? {} : { signal: call.context.signal },
      );
    }
  }

  async #attempt(context: Context, call: Call): Promise<ConnectionFailure | undefined> {
    try {
      await this.next.execute(context);
    } catch (cause) {
      if (cause instanceof ConnectorError || call.context.signal?.aborted === true) throw cause;
      return connectionFailure(cause, this.#baseUrl);
    }
    const answer = call.answer!;
    return isTransient(answer.status) ? { error: answerFailure(answer), transient: true } : undefined;
  }
}

/** Where bearer tokens come from; `claims` is a challenge of the service that the cached token does not meet. */
export type TokenSource = (claims?: string) => Promise<string>;

/** Puts the token on each attempt, so that one which expires between two attempts is renewed. */
export class TokenHandler extends Handler {
  readonly #token: TokenSource;

  constructor(token: TokenSource) {
    super();
    this.#token = token;
  }

  async execute(context: Context): Promise<void> {
    const call = callOf(context);
    const sent = await this.#token();
    await this.#send(context, sent);
    if (call.answer?.status !== 401) return;
    const fresh = await this.#token(claimsOf(call.answer.headers["www-authenticate"]));
    if (fresh !== sent) await this.#send(context, fresh);
  }

  async #send(context: Context, token: string): Promise<void> {
    context.options = {
      ...context.options,
      headers: { ...(context.options?.headers as Record<string, string>), authorization: `Bearer ${token}` },
    };
    await this.next.execute(context);
  }
}

/** https://learn.microsoft.com/entra/identity-platform/claims-challenge */
function claimsOf(challenge: string | undefined): string | undefined {
  const encoded = /\bclaims="([^"]+)"/.exec(challenge ?? "")?.[1];
  return encoded === undefined ? undefined : Buffer.from(encoded, "base64").toString("utf8");
}

const inflate = promisify(gunzip);

/** Sends the request over a kept connection, verifying the service against the given authorities. */
export class HttpsHandler implements Middleware {
  readonly #agent: Agent;
  /** The longest silence of the service before a request counts as lost. */
  readonly #silenceMaxMs: number;

  constructor(authorities: string | undefined, silenceMaxMs: number) {
    this.#agent = new Agent({
      keepAlive: true,
      maxSockets: 8,
      // Not left to the process, whose options may allow older ones.
      minVersion: "TLSv1.2",
      ...(authorities === undefined ? {} : { ca: authorities }),
    });
    this.#silenceMaxMs = silenceMaxMs;
  }

  async execute(context: Context): Promise<void> {
    const call = callOf(context);
    const { method = "GET", headers, body } = context.options ?? {};
    const message = await this.#exchange(
      call,
      method,
      headers as Record<string, string>,
      body as string | undefined,
    );
    const status = message.response.statusCode!;
    const text = await decoded(message.response, message.bytes);
    call.answer = {
      status,
      headers: flatHeaders(message.response),
      body: parsedJson(text, status),
    };
  }

  #exchange(
    call: Call,
    method: string,
    headers: Record<string, string>,
    body: string | undefined,
  ): Promise<{ response: IncomingMessage; bytes: Buffer }> {
    return new Promise((resolve, reject) => {
      const outgoing = request(
        call.url,
        {
          method,
          agent: this.#agent,
          headers: {
            ...headers,
            accept: "application/json",
            "accept-encoding": "gzip",
            ...(body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) }),
          },
          ...(call.context.signal === undefined ? {} : { signal: call.context.signal }),
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("end", () => resolve({ response, bytes: Buffer.concat(chunks) }));
          response.on("error", reject);
        },
      );
      outgoing.setTimeout(this.#silenceMaxMs, () => {
        outgoing.destroy(new Error(`no answer within ${this.#silenceMaxMs / 1000} s`));
      });
      outgoing.on("error", reject);
      outgoing.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

async function decoded(response: IncomingMessage, bytes: Buffer): Promise<string> {
  if (response.headers["content-encoding"] !== "gzip") return textOf(bytes);
  try {
    return textOf(await inflate(bytes));
  } catch (cause) {
    throw new BrokenAnswerError(`the compressed answer is damaged: ${(cause as Error).message}`);
  }
}

/** Gives the memory of `bytes` back at once: the pages of a long listing come faster than it is collected. */
function textOf(bytes: Buffer): string {
  const text = bytes.toString("utf8");
  const { buffer, byteLength } = bytes;
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0); // nobody shares it
  return text;
}

function flatHeaders(response: IncomingMessage): GraphAnswer["headers"] {
  return Object.fromEntries(
    Object.entries(response.headers).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.join(", ") : value,
    ]),
  );
}

/** A refusal may come from a gateway, as HTML; a success must be JSON. */
function parsedJson(text: string, status: number): unknown {
  if (text === "" && status !== 200) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    if (status >= 300) return undefined;
    throw new BrokenAnswerError("the answer is not the JSON that it should be");
  }
}
