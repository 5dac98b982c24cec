import { expect, test, vi } from "vitest";
import { schemas } from "../../../src/api/schemas.ts";
import { call, engine, run, world } from "../../support/apiWorld.ts";
import { recipe } from "../support/guestWorld.ts";

vi.mock("../../../src/composition.ts", () => import("../../support/apiWorld.ts"));
// The API's world with the rules connector.
vi.mock("../support/guestWorld.ts", async (original) => {
  const guestWorld = await original<typeof import("../support/guestWorld.ts")>();
  return { ...guestWorld, recipe: guestWorld.wholeRecipe };
});

const ann = { "x-ms-client-principal-name": "ann@corp.example" };
const checked = async (name: string, method: string, path: string, body?: unknown) => {
  const answer = await call(method, path, body, ann);
  expect(schemas.get(answer.status >= 400 ? "Problem" : name)!.parse(answer.body)).toEqual(answer.body);
  return answer;
};
const outbound = recipe.ruleTexts.find(({ file }) => file.endsWith("AD-B2B-OUT.yaml"))!.text;
const cycle = async () => {
  await run("MIMMA", "Full Import (Stage Only)");
  return run("MIMMA", "Full Synchronization");
};

test("rules are edited, activated as a version, and rolled back, each with who and why", async () => {
  expect((await checked("RulesVersionList", "GET", "/rules/versions")).body.items).toEqual([]);
  await cycle();
  const [first] = (await checked("RulesVersionList", "GET", "/rules/versions")).body.items;
  expect(first).toMatchObject({ version: 1, state: "active", active: true, counts: { rules: 3, added: 3 } });

  const text = outbound.replace(
    "target: displayName, source: displayName",
    "target: displayName, source: cn",
  );
  const staged = await checked("StagedRule", "PUT", "/rules/AD-B2B-OUT", { text, why: "Names." });
  expect(staged.body).toMatchObject({
    origin: "edit",
    editedBy: "ann@corp.example",
    why: "Names.",
    text,
    problems: [],
  });
  expect((await checked("Rule", "GET", "/rules/AD-B2B-OUT")).body).toMatchObject({ text });
  await cycle();
  const [second] = (await checked("RulesVersionList", "GET", "/rules/versions")).body.items;
  expect(second).toMatchObject({ version: 2, active: true, author: "ann@corp.example", why: "Names." });

  const back = await checked("ActivatedRules", "POST", "/rules/versions/1/activate", { why: "No." });
  expect(back).toMatchObject({ status: 200, body: { version: 1, active: true, activatedWhy: "No." } });
  world.now += 1000;
  expect((await checked("RuleList", "GET", "/rules")).body).toMatchObject({ active: 1, pinned: true });
  expect(
    (await checked("ActivatedRules", "POST", `/rules/versions/${second.hash}/activate`, { why: "Yes." }))
      .body,
  ).toMatchObject({ version: 2 });
  const audit = await engine.audit.page(10);
  expect(audit.entries.map(({ what, who, why }) => [what, who, why])).toEqual([
    ["activateRules", "ann@corp.example", "Yes."],
    ["activateRules", "ann@corp.example", "No."],
    ["editRule", "ann@corp.example", "Names."],
  ]);
});

test("a deleted Provision rule waits, and is activated by whoever approves it", async () => {
  expect((await checked("RuleList", "DELETE", "/rules/AD-B2B-OUT")).body).toMatchObject({
    code: "bad-request",
  });
  expect((await checked("RuleList", "DELETE", "/rules/AD-B2B-OUT?why=Away")).body.items).toHaveLength(2);
  const id = await cycle();
  const { body } = await checked("Run", "GET", `/runs/${id}`);
  expect(body.status).toBe("stopped-approval-required");
  expect(body.endedAt).not.toBeNull();
  const rules = (await checked("RuleList", "GET", "/rules")).body;
  expect(rules.candidate).toMatchObject({ state: "waiting", version: 3 });
  const [waiting] = (await checked("RulesVersionList", "GET", "/rules/versions?limit=1")).body.items;
  expect(waiting).toMatchObject({ version: 3, state: "waiting", active: false });
  expect(waiting.reasons.join()).toContain('"AD-B2B-OUT" is gone');
  world.now += 20_000; // health remembers its last answer
  expect((await checked("Health", "GET", "/health")).body.checks).toContainEqual({
    name: "MIMMA",
    status: "warning",
    message: expect.stringContaining("waits for approval"),
  });
  await checked("ActivatedRules", "POST", "/rules/versions/3/activate", { why: "Agreed." });
  expect((await checked("RuleList", "GET", "/rules")).body).toMatchObject({ active: 3, candidate: null });
});

test("a refused set degrades health and shows each error on its rule", async () => {
  const text = outbound.replace("source: displayName", "source: displaName");
  const staged = await checked("StagedRule", "PUT", "/rules/AD-B2B-OUT", { text, why: "?" });
  expect(staged.body.problems).toMatchObject([{ message: expect.stringContaining("displaName") }]);
  const id = await cycle();
  const { body } = await checked("Run", "GET", `/runs/${id}`);
  expect(body.steps[0].errors).toMatchObject([
    {
      anchor: "AD-B2B-OUT",
      message: expect.stringMatching(/edited\/AD-B2B-OUT\.yaml:\d+:\d+ .*Did you mean/),
    },
  ]);
  const object = await checked("ConnectorSpaceObject", "GET", "/connectors/MIMMA/objects/AD-B2B-OUT");
  expect(object.body.error.message).toContain("displaName");
  world.now += 20_000;
  const health = await checked("Health", "GET", "/health");
  expect(health).toMatchObject({ status: 200, body: { status: "degraded" } });
});

test.each([
  ["POST", "/rules/versions/99/activate", { why: "?" }, 404, "unknown-version"],
  ["PUT", "/rules/AD-B2B-OUT", { text: "name: [", why: "?" }, 422, "invalid-rules"],
  ["PUT", "/rules/Other", { text: outbound, why: "?" }, 422, "invalid-rules"],
  ["PUT", "/rules/AD-B2B-OUT", { text: outbound }, 400, "bad-request"],
  ["GET", "/rules/nothing", undefined, 404, "not-found"],
  ["DELETE", "/rules/nothing?why=x", undefined, 404, "not-found"],
  ["POST", "/runs", { connector: "MIMMA", profile: "Export" }, 422, "profile-not-supported"],
])("%s %s %j is refused: %i %s", async (method, path, body, status, code) => {
  expect(await checked("Problem", method, path, body)).toMatchObject({ status, body: { code } });
});

test.each([
  ["# nothing", "The file is empty."],
  ["null", "The file is empty."],
  ["[]", "The file is no mapping: expected object, received array."],
])("a rule whose text is %j is refused in words", async (text, message) => {
  const { body } = await checked("Problem", "PUT", "/rules/AD-B2B-OUT", { text, why: "?" });
  expect(body.ruleProblems).toMatchObject([{ file: "edited/AD-B2B-OUT.yaml", line: 1, message }]);
});
