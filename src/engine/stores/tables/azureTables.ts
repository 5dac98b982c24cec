import type { TokenCredential } from "@azure/core-auth";
import {
  odata,
  RestError,
  TableClient,
  type TableServiceClientOptions,
  type TransactionAction,
} from "@azure/data-tables";
import {
  type Operation,
  type Properties,
  type Property,
  type Row,
  type RowPage,
  type RowQuery,
  refuseContinuation,
  StoreError,
  type Tables,
} from "../../ports/tables.ts";
import { assertWithinLimits, isKey } from "../limits.ts";

/** Where the tables are: a connection string, or the service's address with an identity. */
export type TableAccount =
  | { readonly connectionString: string }
  | { readonly serviceUri: string; readonly credential: TokenCredential };

/** Milliseconds. */
export interface TablePatience {
  /** For the answer to one request. */
  readonly requestMs: number;
  /** Before the first of five repetitions of a request that was throttled or whose connection broke; it doubles. */
  readonly firstDelayMs: number;
}

/** The service gives up after 30 s and says so; an emulator may be slower. What is longer never comes. */
const defaultPatience: TablePatience = { requestMs: 90_000, firstDelayMs: 250 };

/** Azure Table Storage, or Azurite. A table is created when it is first used. */
export class AzureTables implements Tables {
  readonly #account: TableAccount;
  readonly #patience: TablePatience;
  readonly #clients = new Map<string, Promise<TableClient>>();

  constructor(account: TableAccount, patience: TablePatience = defaultPatience) {
    this.#account = account;
    this.#patience = patience;
  }

  #client(table: string): Promise<TableClient> {
    let client = this.#clients.get(table);
    if (client === undefined) {
      client = this.#open(table);
      client.catch(() => this.#clients.delete(table)); // the next use tries again; this one gets the error
      this.#clients.set(table, client);
    }
    return client;
  }

  async #open(table: string): Promise<TableClient> {
    const account = this.#account;
    const { requestMs, firstDelayMs } = this.#patience;
    const options: TableServiceClientOptions = {
      retryOptions: { maxRetries: 5, retryDelayInMs: firstDelayMs, maxRetryDelayInMs: 4000 },
    };
    const client =
      "connectionString" in account
        ? TableClient.fromConnectionString(account.connectionString, table, {
            ...options,
            // Azurite speaks http on loopback; Azure's connection strings say https themselves.
            allowInsecureConnection: true,
          })
        : new TableClient(account.serviceUri, table, account.credential, options);
    client.pipeline.addPolicy({
      name: "patience",
      // Without it a request whose answer never comes is waited for without end.
      async sendRequest(request, next) {
        const response = await next(Object.assign(request, { timeout: requestMs }));
        if (response.status < 300 && !response.headers.has("x-ms-request-id")) throw notTheService();
        return response;
      },
    });
    await translated(() => client.createTable());
    return client;
  }

  /** Somebody has deleted the table underneath: it is created again, empty, and the work done once more. */
  async #with<T>(table: string, work: (client: TableClient) => Promise<T>): Promise<T> {
    const client = await this.#client(table);
    try {
      return await work(client);
    } catch (error) {
      if (codeOf(error) !== "TableNotFound") throw storeError(error);
      this.#clients.delete(table);
      const again = await this.#client(table);
      return translated(() => work(again));
    }
  }

  async get(table: string, partition: string, row: string): Promise<Row | undefined> {
    // No row can have such a key, and the service answers it with an error.
    if (!isKey(partition) || !isKey(row)) return undefined;
    return this.#with(table, async (client) => {
      try {
        return toRow(await client.getEntity(partition, row));
      } catch (error) {
        if (error instanceof RestError && error.statusCode === 404 && codeOf(error) !== "TableNotFound")
          return undefined;
        throw error;
      }
    });
  }

  async query(table: string, query: RowQuery, continuation?: string): Promise<RowPage> {
    if (continuation !== undefined) assertContinuation(continuation);
    let filter = odata`PartitionKey eq ${query.partition}`;
    if (query.from !== undefined) filter += odata` and RowKey ge ${query.from}`;
    if (query.to !== undefined) filter += odata` and RowKey lt ${query.to}`;
    const queryOptions = {
      filter,
      ...(query.select === undefined ? {} : { select: ["PartitionKey", "RowKey", ...query.select] }),
    };
    const settings = {
      maxPageSize: query.pageSize ?? 1000,
      ...(continuation === undefined ? {} : { continuationToken: continuation }),
    };
    const { value: page } = await this.#with(table, (client) =>
      client.listEntities({ queryOptions }).byPage(settings).next(),
    );
    if (page === undefined) return { rows: [] };
    const rows = page.map(toRow);
    return page.continuationToken === undefined ? { rows } : { rows, continuation: page.continuationToken };
  }

  async transact(
    table: string,
    partition: string,
    operations: readonly Operation[],
  ): Promise<readonly string[]> {
    assertWithinLimits(partition, operations);
    if (operations.length === 0) return [];
    const [only] = operations;
    if (operations.length === 1 && !isLong(only!))
      return [await this.#with(table, (client) => single(client, partition, only!))];
    const actions = operations.map((operation) => toAction(partition, operation));
    const { subResponses } = await this.#with(table, (client) => client.submitTransaction(actions));
    if (subResponses.length !== operations.length) throw notTheService();
    return subResponses.map(({ etag }) => etag ?? "");
  }
}

/** The client library puts the keys of the next row into it, and what it cannot read it throws as a bug. */
function assertContinuation(continuation: string): void {
  let keys: unknown;
  try {
    keys = JSON.parse(Buffer.from(continuation, "base64").toString("utf8"));
  } catch (error) {
    refuseContinuation(error);
  }
  const { nextPartitionKey } = (keys ?? {}) as { readonly nextPartitionKey?: unknown };
  if (typeof nextPartitionKey !== "string") refuseContinuation();
}

/**
 * Goes as a transaction of one operation: in the body of a single request that comes in several pieces Azurite takes
 * a letter of several bytes apart where they meet.
 */
function isLong(operation: Operation): boolean {
  if (operation.kind === "delete") return false;
  return Object.values(operation.properties).some(
    (value) => typeof value === "string" && value.length > 8000,
  );
}

async function single(client: TableClient, partition: string, operation: Operation): Promise<string> {
  const { row } = operation;
  if (operation.kind === "delete") {
    await client.deleteEntity(partition, row, { etag: "*" });
    return "";
  }
  const entity = { partitionKey: partition, rowKey: row, ...operation.properties };
  if (operation.kind === "insert") return (await client.createEntity(entity)).etag ?? "";
  const response =
    operation.etag === undefined
      ? await client.upsertEntity(entity, "Replace")
      : await client.updateEntity(entity, "Replace", { etag: operation.etag });
  return response.etag ?? "";
}

/** Of a success that the service would sign: a proxy or a sign-on page has answered. */
function notTheService(): StoreError {
  return new StoreError(
    "unreachable",
    "Something answers in place of Table Storage. Check the setting Storage, and what stands between.",
  );
}

function toAction(partition: string, operation: Operation): TransactionAction {
  const keys = { partitionKey: partition, rowKey: operation.row };
  if (operation.kind === "delete") return ["delete", keys];
  const entity = { ...keys, ...operation.properties };
  if (operation.kind === "insert") return ["create", entity];
  if (operation.etag === undefined) return ["upsert", entity, "Replace"];
  return ["update", entity, "Replace", { etag: operation.etag }];
}

function toRow(entity: Record<string, unknown>): Row {
  const properties: Record<string, Property> = {};
  for (const [name, value] of Object.entries(entity)) {
    if (name === "partitionKey" || name === "rowKey" || name === "etag" || name === "timestamp") continue;
    if (name.startsWith("odata.") || value === null || value === undefined) continue;
    properties[name] = value as Property;
  }
  return {
    partition: entity.partitionKey as string,
    row: entity.rowKey as string,
    etag: entity.etag as string,
    properties: properties as Properties,
  };
}

async function translated<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw storeError(error);
  }
}

/** The service's word for what went wrong; the client library hands it on with some requests and not with others. */
function codeOf(error: unknown): string {
  if (!(error instanceof RestError)) return "";
  const { odataError } = (error.details ?? {}) as { readonly odataError?: { readonly code?: string } };
  return error.code ?? odataError?.code ?? error.response?.headers.get("x-ms-error-code") ?? "";
}

function storeError(error: unknown): unknown {
  if (error instanceof Error && error.name === "AbortError") {
    return new StoreError(
      "unreachable",
      "Table Storage has not answered in time. Check the setting Storage.",
      {
        cause: error,
      },
    );
  }
  if (!(error instanceof RestError)) return error;
  const code = codeOf(error);
  const status = error.statusCode ?? 0;
  if (code === "TableBeingDeleted" || code === RestError.PARSE_ERROR) {
    const message = `Table Storage does not answer as it should (${code}). Check the setting Storage.`;
    return new StoreError("unreachable", message, { cause: error });
  }
  if (status === 412 || status === 409 || status === 404) {
    return new StoreError("conflict", `The row has changed (${status} ${code}).`, { cause: error });
  }
  if (status === 413)
    return new StoreError("too-large", `Table Storage refused the size (${code}).`, { cause: error });
  if (status === 401 || status === 403) {
    return new StoreError(
      "access-denied",
      `Table Storage refused access (${status} ${code}). Check the setting Storage, or the role Storage Table Data Contributor.`,
      { cause: error },
    );
  }
  if (status === 0 || status === 408 || status === 429 || status >= 500) {
    return new StoreError(
      "unreachable",
      `Table Storage does not answer (${status === 0 ? code : status}). Check the setting Storage.`,
      { cause: error },
    );
  }
  return error;
}
