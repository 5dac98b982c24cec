/** Table Storage itself, as far as Azurite and a proxy that does what Azure does on its bad days can show it. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Operation } from "../../src/engine/ports/tables.ts";
import { AzureTables } from "../../src/engine/stores/tables/azureTables.ts";
import { storesConformance } from "../conformance/stores.ts";
import { tablesConformance } from "../conformance/tables.ts";
import { startAzurite } from "../support/azurite.ts";
import { type Answer, serverBusy, type TableProxy, tableProxy } from "../support/tableFaults.ts";

let azurite: Awaited<ReturnType<typeof startAzurite>>;
let proxy: TableProxy;
let direct: AzureTables;
let faulty: AzureTables;
beforeAll(async () => {
  azurite = await startAzurite({ keeps: false });
  proxy = await tableProxy(azurite.connectionString);
  direct = new AzureTables({ connectionString: azurite.connectionString });
  faulty = new AzureTables(
    { connectionString: proxy.connectionString },
    { requestMs: 240_000, firstDelayMs: 10 },
  );
});
afterAll(async () => {
  await proxy?.close();
  await azurite?.stop();
});

tablesConformance("Azurite", () => direct);
storesConformance("Azurite on bad days", () => ({ tables: faulty, calm: direct, faults: proxy.faults }));

describe("a request to Table Storage", () => {
  const insert = (row: string): Operation => ({ kind: "insert", row, properties: { text: "x" } });
  let made = 0;
  const table = () => `bad${Date.now()}${++made}`;
  const opened = async (requestMs = 30_000) => {
    const tables = new AzureTables(
      { connectionString: proxy.connectionString },
      { requestMs, firstDelayMs: 10 },
    );
    const name = table();
    proxy.answer = null;
    proxy.faults.clear();
    await tables.transact(name, "p", [insert("first")]);
    proxy.requests = 0;
    return { tables, name };
  };
  const busy: Answer = async (_request, response) => {
    const { status, headers, body } = serverBusy;
    response.writeHead(status, headers).end(body);
  };

  test("that is throttled is made again, later and later, six times in all; then the world has failed", async () => {
    const { tables, name } = await opened();
    proxy.answer = (...asked) => (proxy.requests <= 5 ? busy(...asked) : asked[2]());
    await tables.transact(name, "p", [insert("a"), insert("b")]);
    expect(proxy.requests).toBe(6);
    proxy.requests = 0;
    proxy.answer = busy;
    for (const work of [
      () => tables.get(name, "p", "a"),
      () => tables.query(name, { partition: "p" }),
      () => tables.transact(name, "p", [insert("c")]),
      () => tables.transact(name, "p", [insert("c"), insert("d")]),
    ]) {
      proxy.requests = 0;
      await expect(work()).rejects.toMatchObject({ kind: "unreachable" });
      expect(proxy.requests).toBe(6);
    }
    expect(await direct.get(name, "p", "c")).toBeUndefined();
  });

  test("waits as long as the service asks it to", async () => {
    const { tables, name } = await opened();
    proxy.answer = async (_request, response, pass) => {
      if (proxy.requests > 1) return pass();
      response.writeHead(503, { ...serverBusy.headers, "Retry-After": "1" }).end(serverBusy.body);
    };
    const begun = performance.now();
    await tables.transact(name, "p", [insert("a")]);
    expect(performance.now() - begun).toBeGreaterThan(900);
  });

  /** As the service answers when a partition is too busy in the middle of a transaction. */
  const partBusy: Answer = async (_request, response) => {
    const part = [
      ...["--batchresponse_1", "Content-Type: multipart/mixed; boundary=changesetresponse_1", ""],
      ...["--changesetresponse_1", "Content-Type: application/http", "Content-Transfer-Encoding: binary", ""],
      ...["HTTP/1.1 503 Service Unavailable", "Content-Type: application/json", "", serverBusy.body],
      ...["--changesetresponse_1--", "--batchresponse_1--", ""],
    ].join("\r\n");
    response.writeHead(202, {
      "Content-Type": "multipart/mixed; boundary=batchresponse_1",
      "x-ms-request-id": "1",
    });
    response.end(part);
  };
  const page: Answer = async (_request, response) => {
    response.writeHead(200, { "Content-Type": "text/html" }).end("<html>Sign in to the network</html>");
  };
  const half: Answer = async (_request, response) => {
    const headers = { "Content-Type": "application/json;odata=minimalmetadata", "x-ms-request-id": "1" };
    response.writeHead(200, headers).end('{"value":[{"odata.etag":"W/');
  };
  test.each<[string, Answer]>([
    ["is refused inside an accepted transaction", partBusy],
    ["is answered by something else on the way", page],
    ["is answered by half a page", half],
    ["meets a timeout of the service", async (_request, response) => void response.writeHead(408).end()],
    [
      "meets a table that is being deleted",
      async (_request, response) => {
        const body = '{"odata.error":{"code":"TableBeingDeleted","message":{"value":"…"}}}';
        response.writeHead(409, { "Content-Type": "application/json" }).end(body);
      },
    ],
  ])("that %s fails as the world does, not as a conflict or a bug", async (_what, answer) => {
    const { tables, name } = await opened();
    proxy.answer = answer;
    const reads =
      answer === partBusy
        ? []
        : [() => tables.query(name, { partition: "p" }), () => tables.get(name, "p", "first")];
    for (const work of [() => tables.transact(name, "p", [insert("a"), insert("b")]), ...reads])
      await expect(work()).rejects.toMatchObject({ name: "StoreError", kind: "unreachable" });
  });

  test("whose answer never comes is given up in time", async () => {
    const { tables, name } = await opened(300);
    proxy.answer = async () => undefined;
    for (const work of [
      () => tables.get(name, "p", "a"),
      () => tables.query(name, { partition: "p" }),
      () => tables.transact(name, "p", [insert("c"), insert("d")]),
    ])
      await expect(work()).rejects.toMatchObject({ name: "StoreError", kind: "unreachable" });
    proxy.answer = null;
    expect((await tables.get(name, "p", "first"))?.properties.text).toBe("x");
  });

  test("finds the table gone, deleted by somebody, and goes on with an empty one", async () => {
    const { TableClient } = await import("@azure/data-tables");
    const { tables, name } = await opened();
    const remove = () =>
      TableClient.fromConnectionString(azurite.connectionString, name, {
        allowInsecureConnection: true,
      }).deleteTable();
    await remove();
    expect(await tables.get(name, "p", "first")).toBeUndefined();
    await remove();
    expect(await tables.query(name, { partition: "p" })).toEqual({ rows: [] });
    await remove();
    await tables.transact(name, "p", [insert("first"), insert("second")]);
    await remove();
    await tables.transact(name, "p", [insert("first")]);
    expect((await tables.query(name, { partition: "p" })).rows).toHaveLength(1);
  });
});
