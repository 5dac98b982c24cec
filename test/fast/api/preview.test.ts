import { readdirSync, readFileSync } from "node:fs";
import { beforeAll, expect, test, vi } from "vitest";
import { schemas } from "../../../src/api/schemas.ts";
import { call, run, world } from "../../support/apiWorld.ts";

vi.mock("../../../src/composition.ts", () => import("../../support/apiWorld.ts"));

const folder = new URL("../../../config/rules/", import.meta.url);
const changedRules = (change: (file: string, text: string) => string) =>
  readdirSync(folder).map((file) => ({
    file: `rules/${file}`,
    text: change(file, readFileSync(new URL(file, folder), "utf8")),
  }));
const preview = async (body: object) => {
  const answer = await call("POST", "/preview", body);
  const schema = answer.status === 200 ? "Preview" : "Problem";
  expect(schemas.get(schema)!.parse(answer.body)).toEqual(answer.body);
  return answer;
};

beforeAll(async () => {
  await run("AADMA", "Full Import (Stage Only)");
});

test("a guest who is new: projection, every flow with its inputs, and the account that will be made", async () => {
  const { body } = await preview({ connector: "AADMA", anchor: "ann" });
  expect(body).toMatchObject({
    kind: "full",
    considered: true,
    before: { state: "disconnector", pendingImport: "add" },
    after: { state: "connector", pendingImport: null },
    connection: { decision: "projection", rule: "AAD-B2B-IN" },
    metaverse: { change: "add" },
    errors: [],
    inbound: { disconnectorProjectedNoFlow: 1 },
    outbound: { ADMA: { provisionedAddFlow: 1 } },
  });
  expect(body.rules).toMatchObject([
    { rule: "AAD-B2B-IN", inScope: true, message: expect.stringContaining("userType EQUAL Guest holds") },
  ]);
  expect(body.connection.joins).toMatchObject([
    { rule: "AAD-B2B-IN", group: 1, matches: [], message: 'No metaverse object has uid = "ann".' },
  ]);
  const account = body.metaverse.attributes.find(({ name }: { name: string }) => name === "accountName");
  expect(account).toMatchObject({
    before: null,
    after: "ann",
    contributions: [
      {
        connector: "AADMA",
        rule: "AAD-B2B-IN",
        expression: "Left([id], 20)",
        inputs: { id: "ann" },
        won: true,
        reason: "It is the only offer.",
      },
    ],
  });
  const [target] = body.targets;
  expect(target).toMatchObject({ connector: "ADMA", decision: "provision", pendingExport: { before: null } });
  const control = target.pendingExport.after.attributes.find(
    ({ name }: { name: string }) => name === "userAccountControl",
  );
  expect(control).toMatchObject({ rule: "AD-B2B-OUT", inputs: { accountEnabled: true, absence: null } });
  expect(control.expression).toContain("262658");
  // Nothing of it has happened.
  expect((await call("GET", "/connectors/AADMA/objects/ann")).body.state).toBe("disconnector");
  expect((await call("GET", "/metaverse")).body.items).toEqual([]);
});

test("changed rules tell which clause fails with which value, and do not become active", async () => {
  const rules = changedRules((_, text) => text.replace("value: Guest }\n", "value: Member }\n"));
  const { body } = await preview({ connector: "AADMA", anchor: "ann", rules });
  expect(body).toMatchObject({
    after: { state: "filteredDisconnector" },
    connection: { decision: "disconnector" },
    metaverse: null,
    targets: [],
  });
  expect(body.rules[0]).toMatchObject({
    inScope: false,
    message: 'Rule AAD-B2B-IN is out of scope: userType EQUAL Member fails, the value is "Guest".',
    scope: { groups: [[{ attribute: "userType", value: "Member", actual: "Guest", holds: false }]] },
  });
  const { body: active } = await preview({ connector: "AADMA", anchor: "ann" });
  expect(active.connection.decision).toBe("projection");
});

test("a second rule that offers the same attribute wins or loses by precedence, and it is said why", async () => {
  const rules = [
    ...changedRules((_, text) => text),
    {
      file: "rules/Second.yaml",
      text: [
        "name: Second",
        "direction: inbound",
        "connector: AADMA",
        "connectorObjectType: user",
        "metaverseObjectType: person",
        "linkType: join",
        "precedence: 50",
        "flows:",
        "  - { target: displayName, expression: '\"X \" & [displayName]' }",
        "  - { target: sn, expression: 'NULL' }",
      ].join("\n"),
    },
  ];
  const { body } = await preview({ connector: "AADMA", anchor: "ann", rules });
  const of = (name: string) =>
    body.metaverse.attributes.find((one: { name: string }) => one.name === name).contributions;
  expect(of("displayName")).toMatchObject([
    { rule: "Second", won: true, reason: "Precedence 50 goes before 100." },
    { rule: "AAD-B2B-IN", won: false, reason: "It loses to rule Second: precedence 50 goes before 100." },
  ]);
  expect(of("sn")).toMatchObject([
    { rule: "AAD-B2B-IN", won: true },
    { rule: "Second", value: null, won: false, reason: "It offers nothing: its flow has no value here." },
  ]);
});

test("rules that do not check are refused with their places", async () => {
  const rules = changedRules((file, text) =>
    file === "AAD-B2B-IN.yaml" ? text.replace("Left([id], 20)", "Lefd([id], 20)") : text,
  );
  expect(await preview({ connector: "AADMA", anchor: "ann", rules })).toMatchObject({
    status: 422,
    body: { code: "invalid-rules", ruleProblems: [{ file: "rules/AAD-B2B-IN.yaml", line: 18 }] },
  });
});

test("an object that is as it should be, and one that a delta synchronisation does not look at", async () => {
  await run("AADMA", "Full Synchronization");
  const { body } = await preview({ connector: "AADMA", anchor: "ann", kind: "delta" });
  expect(body).toMatchObject({
    considered: false,
    summary: [expect.stringContaining("Nothing is pending")],
    targets: [],
  });
  const { body: full } = await preview({ connector: "AADMA", anchor: "ann" });
  expect(full).toMatchObject({ connection: { decision: "stay" }, metaverse: { change: "none" } });
  expect(full.targets[0].pendingExport.after).toEqual(full.targets[0].pendingExport.before);
  expect(world.exported).toEqual([]);
});

test("what is not there is told", async () => {
  expect(await preview({ connector: "AADMA", anchor: "nobody" })).toMatchObject({
    status: 404,
    body: { code: "not-found" },
  });
  expect(await preview({ connector: "AADM", anchor: "ann" })).toMatchObject({
    status: 404,
    body: { code: "unknown-connector", suggestions: ["AADMA", "ADMA"] },
  });
  expect(await preview({ connector: "AADMA" })).toMatchObject({ status: 400, body: { code: "bad-request" } });
});
