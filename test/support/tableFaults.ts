/**
 * What Table Storage does on its bad days, over the tables in memory and, as an HTTP proxy, before Azurite, which does
 * none of it by itself.
 */
import http from "node:http";
import type { AddressInfo } from "node:net";
import {
  continuationAt,
  type Operation,
  type Row,
  type RowPage,
  type RowQuery,
  rowOfContinuation,
  StoreError,
  type Tables,
} from "../../src/engine/ports/tables.ts";

export type Fault =
  /** 503 ServerBusy: nothing was done. */
  | "busy"
  /** It was done, and the connection is cut in place of the answer. */
  | "lost";

export class TableFaults {
  #transactions: (Fault | null)[] = [];
  #reads: (Fault | null)[] = [];
  #pages: readonly number[] = [];
  #page = 0;
  /** Faults that have struck. */
  struck = 0;

  /** What befalls the transactions to come, one after the other and each as it is asked for, retries included. */
  transactions(...faults: (Fault | null)[]): void {
    this.#transactions = [...faults];
  }

  /** The same for rows that are read and for queries. */
  reads(...faults: (Fault | null)[]): void {
    this.#reads = [...faults];
  }

  /** How many rows the pages of queries have, over and over; 0 is an empty page with a continuation. */
  pages(...lengths: readonly number[]): void {
    this.#pages = lengths;
    this.#page = 0;
  }

  clear(): void {
    this.transactions();
    this.reads();
    this.pages();
    this.struck = 0;
  }

  next(of: "transactions" | "reads"): Fault | null {
    const fault = (of === "transactions" ? this.#transactions : this.#reads).shift() ?? null;
    if (fault !== null) this.struck++;
    return fault;
  }

  /** The most rows that the next page may have; undefined: as many as were asked for. */
  nextPage(): number | undefined {
    return this.#pages.length === 0 ? undefined : this.#pages[this.#page++ % this.#pages.length];
  }
}

/** Tables with faults. */
export class FaultyTables implements Tables {
  readonly #tables: Tables;
  readonly #faults: TableFaults;

  constructor(tables: Tables, faults: TableFaults) {
    this.#tables = tables;
    this.#faults = faults;
  }

  get(table: string, partition: string, row: string): Promise<Row | undefined> {
    return this.#struck("reads", () => this.#tables.get(table, partition, row));
  }

  query(table: string, query: RowQuery, continuation?: string): Promise<RowPage> {
    return this.#struck("reads", async () => {
      const length = this.#faults.nextPage();
      if (length === 0) {
        const from = continuation === undefined ? (query.from ?? "") : rowOfContinuation(continuation);
        return { rows: [], continuation: continuationAt(from) };
      }
      const pageSize = Math.min(query.pageSize ?? 1000, length ?? 1000);
      return this.#tables.query(table, { ...query, pageSize }, continuation);
    });
  }

  transact(table: string, partition: string, operations: readonly Operation[]): Promise<readonly string[]> {
    return this.#struck("transactions", () => this.#tables.transact(table, partition, operations));
  }

  async #struck<T>(of: "transactions" | "reads", work: () => Promise<T>): Promise<T> {
    const fault = this.#faults.next(of);
    if (fault === "busy") throw new StoreError("unreachable", "Table Storage does not answer (503).");
    const result = await work();
    if (fault === "lost") throw new StoreError("unreachable", "Table Storage does not answer (ECONNRESET).");
    return result;
  }
}

/** In place of what the service would answer: `pass` hands the request on. */
export type Answer = (
  request: http.IncomingMessage,
  response: http.ServerResponse,
  pass: () => Promise<void>,
) => Promise<void>;

export interface TableProxy {
  readonly connectionString: string;
  readonly faults: TableFaults;
  /** Requests that have come, those that were refused included. */
  requests: number;
  /** Answers the requests to come, except those that create a table; null: the faults do. */
  answer: Answer | null;
  close(): Promise<void>;
}

/** The page of the service that tells that it is too busy, as it is sent. */
export const serverBusy = {
  status: 503,
  headers: { "Content-Type": "application/json;odata=minimalmetadata;charset=utf-8" },
  body: '{"odata.error":{"code":"ServerBusy","message":{"lang":"en-US","value":"The server is busy."}}}',
} as const;

const encoded = (key: string) => Buffer.from(key).toString("base64");

const bodyMax = 4 * 1024 * 1024;

/** An HTTP proxy before a table service. */
export async function tableProxy(connectionString: string): Promise<TableProxy> {
  const target = new URL(/TableEndpoint=([^;]+)/.exec(connectionString)![1]!);
  const agent = new http.Agent({ keepAlive: true });
  const faults = new TableFaults();
  const proxy: TableProxy = {
    connectionString: "",
    faults,
    requests: 0,
    answer: null,
    async close() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
      agent.destroy();
    },
  };

  const send = (
    request: http.IncomingMessage,
    body: Buffer,
    path = request.url!,
  ): Promise<{ readonly answer: http.IncomingMessage; readonly bytes: Buffer }> =>
    new Promise((resolve, reject) => {
      const { method, headers } = request;
      const { hostname, port } = target;
      const passed = http.request({ hostname, port, method, path, headers, agent }, async (answer) => {
        const chunks: Buffer[] = [];
        for await (const chunk of answer) chunks.push(chunk);
        resolve({ answer, bytes: Buffer.concat(chunks) });
      });
      passed.on("error", reject);
      passed.end(body);
    });

  async function struck(
    request: http.IncomingMessage,
    response: http.ServerResponse,
    body: Buffer,
  ): Promise<void> {
    const path = new URL(request.url!, target);
    const isRead = request.method === "GET";
    const creates = request.method === "POST" && path.pathname.endsWith("/Tables");
    const fault = creates ? null : faults.next(isRead ? "reads" : "transactions");
    if (fault === "busy") {
      const { status, headers, body: page } = serverBusy;
      response.writeHead(status, { ...headers, "retry-after-ms": "1" }).end(page);
      return;
    }
    const isQuery = isRead && path.searchParams.has("$filter");
    const length = isQuery ? faults.nextPage() : undefined;
    if (length === 0) {
      const [, partition] = /PartitionKey eq '([^']*)'/.exec(path.searchParams.get("$filter")!)!;
      const [, from] = /RowKey ge '([^']*)'/.exec(path.searchParams.get("$filter")!) ?? [];
      response.writeHead(200, {
        "Content-Type": "application/json;odata=minimalmetadata",
        "x-ms-request-id": "of-an-empty-page",
        // The form in which Azurite gives and takes them.
        "x-ms-continuation-NextPartitionKey":
          path.searchParams.get("NextPartitionKey") ?? encoded(partition!),
        "x-ms-continuation-NextRowKey": path.searchParams.get("NextRowKey") ?? encoded(from ?? "!"),
      });
      response.end('{"value":[]}');
      return;
    }
    if (length !== undefined) {
      const top = Math.min(Number(path.searchParams.get("$top") ?? 1000), length);
      path.searchParams.set("$top", String(top));
    }
    const { answer, bytes } = await send(
      request,
      body,
      length === undefined ? request.url! : path.pathname + path.search,
    );
    if (fault === "lost") {
      response.destroy();
      return;
    }
    response.writeHead(answer.statusCode!, answer.headers).end(bytes);
  }

  const server = http.createServer(async (request, response) => {
    proxy.requests++;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    try {
      if (body.length > bodyMax) response.writeHead(413).end();
      else if (proxy.answer !== null && !request.url!.endsWith("/Tables"))
        await proxy.answer(request, response, async () => {
          const { answer, bytes } = await send(request, body);
          response.writeHead(answer.statusCode!, answer.headers).end(bytes);
        });
      else await struck(request, response, body);
    } catch {
      response.destroy(); // what stands behind the proxy is gone
    }
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  Object.assign(proxy, {
    connectionString: connectionString.replace(target.host, `127.0.0.1:${port}`),
  });
  return proxy;
}
