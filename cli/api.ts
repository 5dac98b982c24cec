/**
 * A client of Vestibule's HTTP API, for the command line and for `npm start`. It knows what the contract says
 * (ARCHITECTURE.md, "The HTTP API") and nothing of the engine, so it talks to any deployment.
 */

export interface Step {
  /** From 1. */
  readonly number: number;
  readonly connector: string;
  readonly profile: string;
  readonly type: string;
  readonly status: string;
  readonly startedAt?: string | null;
  readonly endedAt?: string | null;
  readonly statistics?: Readonly<Record<string, number>>;
  readonly outbound?: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** Why the step is as it is: why a delta import was full, which system does not answer. */
  readonly detail?: string | null;
  readonly errors?: readonly ObjectError[];
  /** Why a step in progress got no further; it tries again at `retryAt` (ISO 8601). */
  readonly lastError?: string;
  readonly retryAt?: string;
}

/** What went wrong with one object. */
export interface ObjectError {
  readonly code: string;
  readonly anchor?: string | null;
  readonly dn?: string | null;
  readonly rule?: string | null;
  readonly attribute?: string | null;
  readonly message: string;
  /** Where in a rules extension an exception was thrown. */
  readonly stack?: string;
}

export interface Run {
  readonly id: string;
  readonly trigger: string;
  /** The name of the cycle; absent for a run of one profile. */
  readonly cycle?: string | null;
  readonly status: string;
  readonly startedAt: string;
  readonly endedAt?: string | null;
  readonly steps: readonly Step[];
}

export interface Page<Item> {
  readonly items: readonly Item[];
  readonly continuation?: string;
}

/** RFC 9457, with our stable `code` and what may help. */
export interface Problem {
  readonly title: string;
  readonly status?: number;
  readonly detail?: string;
  readonly code?: string;
  readonly suggestions?: readonly string[];
  /** The run in the way, with code `run-in-progress`. */
  readonly runId?: string;
}

/** The API answered that it cannot do it. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly problem: Problem;

  constructor(status: number, problem: Problem) {
    const { detail, suggestions = [] } = problem;
    const lines = [detail === undefined ? problem.title : `${problem.title}: ${detail}`];
    // Most details end with them already.
    if (
      suggestions.length > 0 &&
      !suggestions.some((one) => detail?.endsWith(`${one}.`) || detail?.endsWith(`"${one}"?`))
    )
      lines.push(`Did you mean ${suggestions.map((one) => `"${one}"`).join(", ")}?`);
    super(lines.join("\n"));
    this.status = status;
    this.problem = problem;
  }
}

/** Nothing answers at the API's address. */
export class UnreachableError extends Error {
  override readonly name = "UnreachableError";
}

export interface ApiOptions {
  /** With or without the `/api` at its end. */
  readonly url: string;
  /** A function key, where the deployment asks for one. */
  readonly key?: string | undefined;
  /** Of Entra ID, for the API. */
  readonly token?: string | undefined;
  /** What a run that is begun through this client names as its trigger. */
  readonly trigger: "cli" | "start";
}

type Query = Readonly<Record<string, string | readonly string[] | undefined>>;

export class Api {
  readonly url: string;
  readonly #headers: Readonly<Record<string, string>>;
  /** Whether the headers hold a key or a token. */
  readonly #isSecret: boolean;

  constructor({ url, key, token, trigger }: ApiOptions) {
    const address = url.replace(/\/+$/, "");
    this.url = /^https?:\/\/[^/]+$/i.test(address) ? `${address}/api` : address;
    this.#isSecret = key !== undefined || token !== undefined;
    this.#headers = {
      accept: "application/json",
      "x-vestibule-trigger": trigger,
      ...(key === undefined ? {} : { "x-functions-key": key }),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    };
  }

  /**
   * @param path begins with a slash; its variable parts are encoded
   * @throws ApiError, UnreachableError
   */
  get<Answer>(path: string, query: Query = {}): Promise<Answer> {
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      for (const one of value === undefined ? [] : [value].flat()) parameters.append(name, one);
    }
    return this.#call("GET", parameters.size === 0 ? path : `${path}?${parameters}`);
  }

  /** @throws ApiError, UnreachableError */
  post<Answer>(path: string, body: unknown = {}): Promise<Answer> {
    return this.#call("POST", path, body);
  }

  /** @throws ApiError, UnreachableError */
  put<Answer>(path: string, body: unknown): Promise<Answer> {
    return this.#call("PUT", path, body);
  }

  /** @throws ApiError, UnreachableError */
  delete<Answer>(path: string, body: unknown = {}): Promise<Answer> {
    return this.#call("DELETE", path, body);
  }

  /** @throws ApiError with code `run-in-progress` when another run is in the way */
  startCycle(cycle: string): Promise<Run> {
    return this.post("/runs", { cycle });
  }

  run(id: string): Promise<Run> {
    return this.get(`/runs/${encodeURIComponent(id)}`);
  }

  async #call<Answer>(method: string, path: string, body?: unknown): Promise<Answer> {
    if (this.#isSecret && isPlainElsewhere(this.url))
      throw new UnreachableError(`${this.url}: a key or a token is sent over https only.`);
    let response: Response;
    let text: string;
    try {
      response = await fetch(this.url + path, {
        method,
        headers: { ...this.#headers, ...(body === undefined ? {} : { "content-type": "application/json" }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      text = await response.text();
    } catch (error) {
      const cause = (error as Error).cause;
      const why = cause instanceof Error ? cause.message || cause.name : (error as Error).message;
      throw new UnreachableError(
        `Nothing answers at ${this.url} (${why}). Is it running? \`npm start\` runs it here; --url or VESTIBULE_URL ` +
          "names another address.",
      );
    }
    const answer = parse(text);
    // Health is an answer too when it is a bad one.
    if (response.ok || (path === "/health" && answer !== undefined)) return answer as Answer;
    const problem = (answer ?? {}) as Partial<Problem>;
    throw new ApiError(response.status, {
      ...problem,
      title: problem.title ?? `${method} ${path} answered ${response.status} ${response.statusText}`,
    });
  }
}

/** Whether the address is read by others on the way: without TLS, and not of this machine. */
function isPlainElsewhere(address: string): boolean {
  if (!URL.canParse(address)) return false; // there is nobody to send it to
  const { protocol, hostname } = new URL(address);
  return protocol === "http:" && !/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);
}

function parse(text: string): unknown {
  try {
    return text === "" ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
