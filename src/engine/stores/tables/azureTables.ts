import type { TokenCredential } from "@azure/core-auth";
import { odata, RestError, TableClient, type TransactionAction } from "@azure/data-tables";
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
import { assertWithinLimits } from "../memory/memoryTables.ts";

/** Where the tables are: a connection string, or the service's address with an identity. */
export type TableAccount =
  | { readonly connectionString: string }
  | { readonly serviceUri: string; readonly credential: TokenCredential };

/** Azure Table Storage, or Azurite. A table is created when it is first used. */
export class AzureTables implements Tables {
  readonly #account: TableAccount;
  readonly #clients = new Map<string, Promise<TableClient>>();

  constructor(account: TableAccount) {
    this.#account = account;
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
    const client =
      "connectionString" in account
        ? TableClient.fromConnectionString(account.connectionString, table, {
            // Azurite speaks http on loopback; Azure's connection strings say https themselves.
            allowInsecureConnection: true,
          })
        : new TableClient(account.serviceUri, table, account.credential);
    await translated(() => client.createTable());
    return client;
  }

  async get(table: string, partition: string, row: string): Promise<Row | undefined> {
    const client = await this.#client(table);
    try {
      return toRow(await client.getEntity(partition, row));
    } catch (error) {
      if (error instanceof RestError && error.statusCode === 404) return undefined;
      throw storeError(error);
    }
  }

  async query(table: string, query: RowQuery, continuation?: string): Promise<RowPage> {
    if (continuation !== undefined) assertContinuation(continuation);
    const client = await this.#client(table);
    let filter = odata`PartitionKey eq ${query.partition}`;
    if (query.from !== undefined) filter += odata` and RowKey ge ${query.from}`;
    if (query.to !== undefined) filter += odata` and RowKey lt ${query.to}`;
    const queryOptions = {
      filter,
      ...(query.select === undefined ? {} : { select: ["PartitionKey", "RowKey", ...query.select] }),
    };
    const pages = client.listEntities({ queryOptions }).byPage({
      maxPageSize: query.pageSize ?? 1000,
      ...(continuation === undefined ? {} : { continuationToken: continuation }),
    });
    const { value: page } = await translated(() => pages.next());
    if (page === undefined) return { rows: [] };
    const rows = page.map(toRow);
    return page.continuationToken === undefined ? { rows } : { rows, continuation: page.continuationToken };
  }

  async transact(
    table: string,
    partition: string,
    operations: readonly Operation[],
  ): Promise<readonly string[]> {
    assertWithinLimits(operations);
    const client = await this.#client(table);
    if (operations.length === 0) return [];
    if (operations.length === 1) return [await translated(() => single(client, partition, operations[0]!))];
    const response = await translated(() =>
      client.submitTransaction(operations.map((operation) => toAction(partition, operation))),
    );
    return response.subResponses.map((sub) => sub.etag ?? "");
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

function storeError(error: unknown): unknown {
  if (!(error instanceof RestError)) return error;
  const code = error.code ?? "";
  const status = error.statusCode ?? 0;
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
  if (status === 0 || status === 429 || status >= 500) {
    return new StoreError(
      "unreachable",
      `Table Storage does not answer (${status === 0 ? code : status}). Check the setting Storage.`,
      { cause: error },
    );
  }
  return error;
}
