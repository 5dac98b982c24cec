import { beforeAll, describe, expect, test, vi } from "vitest";
import { openApiDocument } from "../../../src/api/openapi.ts";
import { schemas } from "../../../src/api/schemas.ts";
import { call, engine, httpFunctions, run } from "../../support/apiWorld.ts";

vi.mock("../../../src/composition.ts", () => import("../../support/apiWorld.ts"));

interface Operation {
  readonly operationId: string;
  readonly security?: readonly object[];
  readonly responses: Record<
    string,
    { description?: string; content: Record<string, { schema: { $ref?: string } }> }
  >;
}
const document = openApiDocument() as {
  readonly servers: readonly { url: string }[];
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { schemas: Record<string, object> };
};
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);

test("the document has every route that the functions register, and no other", async () => {
  const documented = operations.map(({ path, method, operation }) => [
    operation.operationId,
    `${method.toUpperCase()} ${path}`,
    operation.security === undefined ? "function" : "anonymous",
  ]);
  const registered = (await httpFunctions()).flatMap(({ name, binding }) =>
    (binding.methods as string[]).map((method) => [name, `${method} /${binding.route}`, binding.authLevel]),
  );
  expect(documented.sort()).toEqual(registered.sort());
  expect(document.servers).toEqual([{ url: "/api" }]);
});

test("every reference leads to a schema, and every schema is referred to", () => {
  const text = JSON.stringify(document);
  const referred = new Set([...text.matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name));
  expect([...referred].sort()).toEqual(Object.keys(document.components.schemas).sort());
});

test("it tells what access control answers to each call", () => {
  const answers = (path: string, method: string) =>
    Object.keys(document.paths[path]![method]!.responses).filter((status) =>
      ["401", "403", "415", "429"].includes(status),
    );
  expect(answers("/runs", "get")).toEqual(["401", "403", "429"]);
  expect(answers("/runs", "post")).toEqual(["401", "403", "415", "429"]);
  expect(answers("/health", "get")).toEqual([]);
  for (const { operation } of operations)
    for (const { description } of Object.values(operation.responses))
      expect(description).toBeTypeOf("string");
});

test("the API answers the document", async () => {
  const { status, headers, body } = await call("GET", "/openapi.json");
  expect([status, headers["cache-control"]]).toEqual([200, "no-store"]);
  expect(body).toEqual(JSON.parse(JSON.stringify(document)));
});

describe("real answers are as the document says", () => {
  /** The answer, after its comparison with the schema that the document names; what the schema lacks shows. */
  const checked = async (method: string, path: string, template: string, body?: unknown, trigger = "cli") => {
    const answer = await call(method, path, body, { "x-vestibule-trigger": trigger });
    const { responses } = document.paths[template]![method.toLowerCase()]!;
    const [content] = Object.values(responses[answer.status]!.content);
    const name = content!.schema.$ref!.replace("#/components/schemas/", "");
    expect(schemas.get(name)!.parse(answer.body), `${method} ${path}`).toEqual(answer.body);
    return answer.body;
  };

  beforeAll(async () => {
    await run("AADMA", "Full Import (Stage Only)");
    await run("AADMA", "Full Synchronization");
    await run("ADMA", "Export");
  });

  test("runs", async () => {
    const started = await checked("POST", "/runs", "/runs", { cycle: "delta" });
    expect(started).toMatchObject({ trigger: "cli", cycle: "delta", endedAt: null });
    expect(await checked("POST", "/runs", "/runs", { cycle: "delta" })).toMatchObject({
      code: "run-in-progress",
      runId: started.id,
    });
    expect(await checked("POST", `/runs/${started.id}/stop`, "/runs/{id}/stop")).toMatchObject({
      id: started.id,
    });
    const { items } = await checked("GET", "/runs", "/runs");
    expect(items).toHaveLength(4);
    expect(await checked("GET", `/runs/${items[3].id}`, "/runs/{id}")).toMatchObject({
      steps: [{ statistics: { stageAdd: 2 } }],
    });
    await checked("GET", "/runs/none", "/runs/{id}");
    expect(await checked("POST", "/runs", "/runs", { cycle: "dleta" })).toMatchObject({
      code: "unknown-cycle",
      suggestions: ["delta", "initial"],
    });
  });

  test("connectors and their objects", async () => {
    await checked("GET", "/connectors", "/connectors");
    await checked("GET", "/connectors/ADMA", "/connectors/{name}");
    await checked("GET", "/connectors/ADMA/export-plan", "/connectors/{name}/export-plan");
    const { items } = await checked("GET", "/connectors/ADMA/objects", "/connectors/{name}/objects");
    expect(items).toHaveLength(2);
    const one = "/connectors/{name}/objects/{anchor}";
    const object = await checked("GET", `/connectors/ADMA/objects/${items[0].id}`, one);
    expect(object.tower.unconfirmedExport.expected).toMatchObject({ userAccountControl: 262656 });
    expect((await checked("GET", "/connectors/AADMA/objects/ann", one)).tower.synchronized.dn).toBe("ann");
    await checked("GET", "/connectors/AADMA/objects/nobody", one);
  });

  test("an anchor is found however its GUID is written, and as base64url of its text or its bytes", async () => {
    const guid = "850f1874-3b75-4b2e-b55e-297444721cd7";
    const bytes = Buffer.from("74180f85753b2e4bb55e297444721cd7", "hex").toString("base64url");
    const asked = vi.spyOn(engine.connectorSpace, "findByAnchor");
    for (const written of [
      guid,
      guid.toUpperCase(),
      `{${guid}}`,
      Buffer.from(guid).toString("base64url"),
      bytes,
    ]) {
      asked.mockClear();
      await call("GET", `/connectors/ADMA/objects?anchor=${encodeURIComponent(written)}`);
      expect(
        asked.mock.calls.map(([, anchor]) => anchor),
        written,
      ).toContain(guid);
    }
    asked.mockRestore();
  });

  test.each([
    ["state=conector", "Did you mean connector?"],
    ["pendingImport=insert", "add, update"],
    ["pendingExport=deleteAdd", "add, update"],
    ["continuation=zzz", "continuation"],
  ])("a search of a connector space with %s is refused, not empty", async (query, remedy) => {
    expect(
      await checked("GET", `/connectors/ADMA/objects?${query}`, "/connectors/{name}/objects"),
    ).toMatchObject({
      code: "bad-request",
      detail: expect.stringContaining(remedy),
    });
  });

  test("a search by state and pending change covers the special kinds", async () => {
    const ids = async (query: string) =>
      (await checked("GET", `/connectors/ADMA/objects?${query}`, "/connectors/{name}/objects")).items.length;
    expect(await ids("state=connector&pendingExport=none&pendingImport=none")).toBe(2);
    expect(await ids("state=disconnector")).toBe(0);
    expect(await ids("pendingExport=any")).toBe(0);
    expect(await ids("pendingExport=rename")).toBe(0);
  });

  test.each(["/runs", "/metaverse"])("%s refuses a continuation that it never gave out", async (path) => {
    expect(await checked("GET", `${path}?continuation=zzz`, path)).toMatchObject({ code: "bad-request" });
  });

  test("an anchor with a slash is found, whatever the platform left encoded", async () => {
    const asked = vi.spyOn(engine.connectorSpace, "findByAnchor");
    await call("GET", `/connectors/AADMA/objects/${encodeURIComponent("a/b%41 c")}`);
    expect(asked.mock.calls[0]).toEqual(["AADMA", "a/b%41 c"]);
    asked.mockRestore();
  });

  test("the metaverse", async () => {
    const found = await checked("GET", "/metaverse?where=accountName+equals+ann", "/metaverse");
    const [person] = found.items;
    const object = await checked("GET", `/metaverse/${person.id}`, "/metaverse/{id}");
    expect(object.lineage.accountName[0]).toMatchObject({ connector: "AADMA", won: true });
    expect((await checked("GET", "/metaverse?where=accountNam+isPresent", "/metaverse")).code).toBe(
      "invalid-clause",
    );
  });

  test("expressions, the schedule and health", async () => {
    const evaluate = "/expressions/evaluate";
    expect((await checked("POST", evaluate, evaluate, { expression: "Split([a], 1)" })).code).toBe(
      "invalid-expression",
    );
    await checked("POST", evaluate, evaluate, { expression: "AuthoritativeNull" });
    await checked("PUT", "/schedule", "/schedule", { suspended: true });
    await checked("GET", "/schedule", "/schedule");
    await checked("PUT", "/schedule", "/schedule", { suspended: 1 });
    await checked("GET", "/health", "/health");
  });
});
