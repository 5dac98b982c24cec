/** Requests to Microsoft Graph: single ones, and many reads at once through `$batch`. */
import { setTimeout as sleep } from "node:timers/promises";
import { Client, ResponseType } from "@microsoft/microsoft-graph-client";
import type { ConnectorContext } from "../../ports/connector.ts";
import { ConnectorError } from "../../ports/connector.ts";
import type { GraphAnswer } from "./failures.ts";
import { answerFailure, isTransient } from "./failures.ts";
import type { RetryPolicy, TokenSource } from "./pipeline.ts";
import {
  Call,
  growingDelayMs,
  HttpsHandler,
  mayWait,
  OutcomeHandler,
  RetryHandler,
  TokenHandler,
} from "./pipeline.ts";

/** https://learn.microsoft.com/graph/json-batching: more are refused. */
const batchMax = 20;
/** Batches under way at once; more of them only meet the throttle sooner. */
const batchesInFlightMax = 4;
const silenceMaxMs = 60_000;
const version = "v1.0";

export interface GraphClientOptions {
  /** Scheme, host and port. */
  readonly baseUrl: string;
  /** PEM; undefined for the public authorities. */
  readonly authorities: string | undefined;
  readonly token: TokenSource;
  readonly retry: RetryPolicy;
}

export class GraphClient {
  readonly #baseUrl: string;
  readonly #client: Client;
  readonly #https: HttpsHandler;
  readonly #retry: RetryPolicy;

  constructor(options: GraphClientOptions) {
    this.#baseUrl = options.baseUrl;
    this.#retry = options.retry;
    this.#https = new HttpsHandler(options.authorities, silenceMaxMs);
    this.#client = Client.initWithMiddleware({
      baseUrl: options.baseUrl,
      middleware: [
        new OutcomeHandler(),
        new RetryHandler(options.retry, options.baseUrl),
        new TokenHandler(options.token),
        this.#https,
      ],
    });
  }

  /** The absolute URL of a path below the version, such as `/users?$top=1`. */
  url(path: string): string {
    return `${this.#baseUrl}/${version}${path}`;
  }

  /**
   * @param url absolute; a link that the service gave, or from `url`
   * @throws ConnectorError for every answer other than 2xx
   */
  async get(url: string, context: ConnectorContext, headers: Record<string, string> = {}): Promise<unknown> {
    this.#assertOwn(url);
    const call = new Call(url, true, context);
    const request = this.#client.api(url).middlewareOptions([call]).headers(headers);
    await request.responseType(ResponseType.RAW).get();
    return bodyOf(call);
  }

  /**
   * Reads many paths; one answer per path in the same order, each 200 or 404.
   * @throws ConnectorError for any other answer, once asking again has not helped
   */
  async getMany(paths: readonly string[], context: ConnectorContext): Promise<GraphAnswer[]> {
    const answers = new Array<GraphAnswer>(paths.length);
    let position = 0;
    const worker = async () => {
      while (position < paths.length) {
        const start = position;
        position += batchMax;
        const batch = paths.slice(start, start + batchMax);
        for (const [index, answer] of (await this.#batch(batch, context)).entries())
          answers[start + index] = answer;
      }
    };
    await Promise.all(Array.from({ length: batchesInFlightMax }, worker));
    return answers;
  }

  /**
   * One write. A POST that got no answer is not sent again: whether it was done is for the caller to find out.
   * @param path below the version
   * @returns 2xx, or the refusal of this very object (400, 403, 404, 409 and their like)
   * @throws ConnectorError for a failing service, and for a token that is not accepted
   */
  async send(
    method: "POST" | "PATCH" | "PUT" | "DELETE",
    path: string,
    body: unknown,
    context: ConnectorContext,
    headers: Record<string, string> = {},
  ): Promise<GraphAnswer> {
    const call = new Call(this.url(path), method !== "POST", context);
    const request = this.#client.api(call.url).middlewareOptions([call]).headers(headers);
    request.responseType(ResponseType.RAW);
    switch (method) {
      case "POST":
        await request.post(body);
        break;
      case "PATCH":
        await request.patch(body);
        break;
      case "PUT":
        await request.put(body);
        break;
      case "DELETE":
        await request.delete();
        break;
    }
    if (call.failure !== undefined) throw call.failure;
    const answer = call.answer!;
    const isRefusal =
      answer.status >= 400 && answer.status < 500 && ![401, 407, 408, 429].includes(answer.status);
    if ((answer.status >= 200 && answer.status <= 299) || isRefusal) return answer;
    throw answerFailure(answer);
  }

  close(): void {
    this.#https.close();
  }

  async #batch(paths: readonly string[], context: ConnectorContext): Promise<GraphAnswer[]> {
    const answers = new Map<number, GraphAnswer>();
    const begun = Date.now();
    for (let attempt = 1; ; attempt++) {
      const open = paths.map((_, index) => index).filter((index) => !answers.has(index));
      if (open.length === 0) return paths.map((_, index) => answers.get(index)!);

      // 424 and a missing answer say that the request was not tried.
      let failure = new ConnectorError("unreachable", "Graph left out answers of a batch.");
      for (const [index, answer] of await this.#postBatch(paths, open, context)) {
        if (answer.status === 200 || answer.status === 404) answers.set(index, answer);
        else if (isTransient(answer.status) || answer.status === 424)
          failure = longer(failure, answerFailure(answer));
        else throw answerFailure(answer);
      }
      if (answers.size === paths.length) continue;

      const delayMs = failure.retryAfterMs ?? growingDelayMs(this.#retry, attempt);
      const tooLate = Date.now() + delayMs - begun > this.#retry.budgetMs;
      if (attempt >= this.#retry.attemptsMax || tooLate) throw failure;
      if (!mayWait(this.#retry, context, delayMs)) throw failure;
      const left = paths.length - answers.size;
      context.log(
        `${failure.message} ${left} of ${paths.length} in a batch are asked again in ${(delayMs / 1000).toFixed(1)} s.`,
      );
      await sleep(delayMs, undefined, context.signal === undefined ? {} : { signal: context.signal });
    }
  }

  async #postBatch(
    paths: readonly string[],
    open: readonly number[],
    context: ConnectorContext,
  ): Promise<Map<number, GraphAnswer>> {
    const call = new Call(this.url("/$batch"), true, context); // nothing but reads in it
    const requests = open.map((index) => ({ id: String(index), method: "GET", url: paths[index] }));
    const request = this.#client.api(call.url).middlewareOptions([call]);
    await request.responseType(ResponseType.RAW).post({ requests });
    const { responses } = (bodyOf(call) ?? {}) as { responses?: unknown };
    if (!Array.isArray(responses)) throw notGraph("a batch answer without `responses`");
    const answers = new Map<number, GraphAnswer>();
    for (const { id, status, headers, body } of responses as Record<string, unknown>[]) {
      const index = Number(id);
      if (open.includes(index))
        answers.set(index, { status: Number(status), headers: lowerCase(headers), body });
    }
    return answers;
  }

  /** The token goes to the configured service alone, whatever an answer says. */
  #assertOwn(url: string): void {
    if (URL.canParse(url) && new URL(url).origin === this.#baseUrl) return;
    throw notGraph("a link to another address than GRAPH_BASE_URL");
  }
}

/** The answer does not have the shape of Graph's; it must not pass for an empty one. */
export function notGraph(what: string): ConnectorError {
  return new ConnectorError(
    "unreachable",
    `Graph gave ${what}. Nothing is taken from it; check GRAPH_BASE_URL.`,
  );
}

function bodyOf(call: Call): unknown {
  if (call.failure !== undefined) throw call.failure;
  const answer = call.answer!;
  delete call.answer;
  if (answer.status < 200 || answer.status > 299) throw answerFailure(answer);
  return answer.body;
}

/** The one to wait for: of two delays the longer. */
function longer(a: ConnectorError, b: ConnectorError): ConnectorError {
  return (a.retryAfterMs ?? -1) > (b.retryAfterMs ?? -1) ? a : b;
}

function lowerCase(headers: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries((headers ?? {}) as Record<string, unknown>).map(([name, value]) => [
      name.toLowerCase(),
      String(value),
    ]),
  );
}
