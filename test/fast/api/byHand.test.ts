import { beforeAll, expect, test, vi } from "vitest";
import { call, engine, run, work, world } from "../../support/apiWorld.ts";

vi.mock("../../../src/composition.ts", () => import("../../support/apiWorld.ts"));

const headers = { "x-ms-client-principal-name": "ann@corp.example" };
const post = (path: string, body?: unknown) => {
  world.now += 1000;
  return call("POST", path, body, headers);
};

beforeAll(async () => {
  await run("AADMA", "Full Import (Stage Only)");
  await run("AADMA", "Full Synchronization");
});

test("an order is a run of its own, named after its caller, and stands in the audit", async () => {
  const { status, headers: answered, body } = await post("/connectors/AADMA/objects/ann/disconnect");
  expect([status, answered.location]).toEqual([202, `/api/runs/${body.id}`]);
  expect(body).toMatchObject({
    startedBy: "ann@corp.example",
    steps: [
      { profile: "Disconnect by Hand", type: "deltaSync", order: { kind: "disconnect", as: "explicit" } },
    ],
  });
  expect((await post("/connectors/AADMA/objects/bob/synchronize")).body).toMatchObject({
    status: 409,
    code: "run-in-progress",
    runId: body.id,
  });
  await work();
  expect((await call("GET", "/connectors/AADMA/objects/ann")).body).toMatchObject({
    metaverseId: null,
    state: "explicitDisconnector",
  });
  expect((await engine.audit.page(10)).entries).toMatchObject([
    { who: "ann@corp.example", what: "disconnect", why: null, about: { runId: body.id } },
  ]);
});

test("who has stopped a run stands in the audit; a run that has ended is not stopped", async () => {
  const { id } = (await post("/runs", { cycle: "delta" })).body;
  expect(await post(`/runs/${id}/stop`)).toMatchObject({ status: 202, body: { id, stopRequested: true } });
  await work();
  expect((await call("GET", `/runs/${id}`)).body).toMatchObject({ status: "stopped-user" });
  const stopped = { who: "ann@corp.example", what: "stopRun", about: { runId: id } };
  expect((await engine.audit.page(1)).entries).toMatchObject([stopped]);
  expect((await post(`/runs/${id}/stop`)).body).toMatchObject({ status: 409, code: "run-has-ended" });
  expect((await post("/runs/none/stop")).body).toMatchObject({ status: 404, code: "not-found" });
  expect((await engine.audit.page(10)).entries.filter(({ what }) => what === "stopRun")).toHaveLength(1);
});

test("a disconnection is undone by a join, with a reason", async () => {
  const metaverseId = (await call("GET", "/connectors/AADMA/objects/bob")).body.metaverseId;
  const joined = await post("/connectors/AADMA/objects/ann/join", { metaverseId, why: "the same person" });
  expect(joined.status).toBe(202);
  await work();
  // Bob has an object of this connector already.
  expect((await call("GET", `/runs/${joined.body.id}`)).body).toMatchObject({ status: "completed-warnings" });
  expect((await post("/connectors/AADMA/objects/ann/disconnect", { as: "normal" })).status).toBe(202);
  await work();
  expect((await call("GET", "/connectors/AADMA/objects/ann")).body).toMatchObject({ state: "connector" });
  expect((await engine.audit.page(2)).entries.map(({ what, why }) => [what, why])).toEqual([
    ["disconnect", null],
    ["join", "the same person"],
  ]);
  const elsewhere = (await call("GET", "/connectors/AADMA/objects/ann")).body.metaverseId;
  expect((await post("/connectors/AADMA/objects/bob/join", { metaverseId: elsewhere })).body).toMatchObject({
    status: 409,
    code: "already-connected",
  });
});

test.each([
  ["/connectors/AADMA/objects/nobody/retry", {}, 404, "not-found"],
  ["/connectors/NOMA/objects/ann/retry", {}, 404, "unknown-connector"],
  ["/connectors/AADMA/objects/ann/join", {}, 400, "bad-request"],
  ["/connectors/AADMA/objects/ann/join", { metaverseId: "none" }, 404, "not-found"],
  ["/connectors/AADMA/objects/ann/disconnect", { as: "filtered" }, 400, "bad-request"],
  ["/runs/none/accept", { why: "moved" }, 404, "not-found"],
  ["/runs/none/accept", {}, 400, "bad-request"],
])("POST %s %j is answered with %i %s", async (path, body, status, code) => {
  expect((await post(path, body)).body).toMatchObject({ status, code });
});

test("an import that was not refused cannot be accepted", async () => {
  const id = await run("AADMA", "Full Import (Stage Only)");
  expect((await post(`/runs/${id}/accept`, { why: "moved" })).body).toMatchObject({
    status: 409,
    code: "import-not-acceptable",
    detail: `Run ${id} refused no import.`,
  });
});

test("a connector space is emptied when its name is given twice", async () => {
  const empty = (name: string, body: unknown) => call("DELETE", `/connectors/${name}/space`, body, headers);
  expect((await empty("AADMA", {})).body).toMatchObject({ status: 400, code: "bad-request" });
  expect((await empty("AADMA", { confirm: "ADMA" })).body).toMatchObject({ status: 400 });
  expect((await empty("NOMA", { confirm: "NOMA" })).body).toMatchObject({
    status: 404,
    code: "unknown-connector",
  });
  world.now += 1000;
  const { status, body } = await empty("AADMA", { confirm: "AADMA", why: "another tenant" });
  expect([status, body]).toEqual([200, { connector: "AADMA", removed: expect.any(Number) }]);
  expect((await call("GET", "/connectors/AADMA/objects")).body.items).toEqual([]);
  expect((await engine.audit.page(1)).entries).toMatchObject([
    { who: "ann@corp.example", what: "emptySpace", why: "another tenant", about: { connector: "AADMA" } },
  ]);
});
