import { beforeAll, expect, test, vi } from "vitest";
import { schemas } from "../../../src/api/schemas.ts";
import { call, run, work, world } from "../../support/apiWorld.ts";
import { recipe } from "../support/guestWorld.ts";

vi.mock("../../../src/composition.ts", () => import("../../support/apiWorld.ts"));

const rules = (change: (text: string) => string) =>
  recipe.ruleTexts.map(({ file, text }) => ({ file, text: change(text) }));
const disabling = rules((text) => text.replace("[accountEnabled] = False ||", "True ||"));
const checked = async (name: string, method: string, path: string, body?: unknown) => {
  const answer = await call(method, path, body, { "x-vestibule-trigger": "cli" });
  expect(schemas.get(answer.status >= 400 ? "Problem" : name)!.parse(answer.body)).toEqual(answer.body);
  return answer;
};

beforeAll(async () => {
  for (const [connector, profile] of [
    ["AADMA", "Full Import (Stage Only)"],
    ["AADMA", "Full Synchronization"],
    ["ADMA", "Full Synchronization"],
  ])
    await run(connector!, profile!);
});

test("changed rules are compared by a run, and its effects are told in pages, by connector and kind", async () => {
  const started = await checked("Run", "POST", "/rules/diff", { rules: disabling });
  expect(started).toMatchObject({
    status: 202,
    headers: { location: `/api/runs/${started.body.id}` },
    body: { trigger: "cli", cycle: null, status: "in-progress" },
  });
  expect(await checked("Run", "POST", "/runs", { cycle: "delta" })).toMatchObject({
    status: 409,
    body: { code: "run-in-progress" },
  });
  await work();
  const path = `/rules/diff/${started.body.id}`;
  const { body } = await checked("RulesDiff", "GET", path);
  expect(body).toMatchObject({
    runId: started.body.id,
    status: "success",
    counts: { ADMA: { add: 2, delete: 0 }, AADMA: { add: 0 } },
  });
  expect(body.items).toHaveLength(2);
  expect(body.items[0].attributes).toContainEqual(
    expect.objectContaining({ name: "userAccountControl", after: 262658, rule: "AD-B2B-OUT" }),
  );
  const first = (await checked("RulesDiff", "GET", `${path}?limit=1&connector=ADMA&change=add`)).body;
  const token = encodeURIComponent(first.continuation);
  const rest = (
    await checked("RulesDiff", "GET", `${path}?limit=1&continuation=${token}&connector=ADMA&change=add`)
  ).body;
  expect([...first.items, ...rest.items]).toEqual(body.items);
  expect((await checked("RulesDiff", "GET", `${path}?connector=ADMA&change=delete`)).body.items).toEqual([]);
  // The run says it too, and nothing has come of it.
  const shown = await checked("Run", "GET", `/runs/${started.body.id}`);
  expect(shown.body.steps.at(-1)).toMatchObject({ type: "rulesEffects", statistics: { effectAdd: 2 } });
  expect(world.exported).toEqual([]);
});

test("rules that do not check begin no run; what is no comparison is not found", async () => {
  const wrong = rules((text) => text.replace("linkType: provision", "linkType: provisoin"));
  expect(await checked("Run", "POST", "/rules/diff", { rules: wrong })).toMatchObject({
    status: 422,
    body: { code: "invalid-rules" },
  });
  expect((await checked("Run", "POST", "/rules/diff", { rules: [] })).status).toBe(400);
  const { items } = (await call("GET", "/runs")).body;
  expect((await checked("RulesDiff", "GET", `/rules/diff/${items.at(-1).id}`)).status).toBe(404);
  expect((await checked("RulesDiff", "GET", `/rules/diff/${items[0].id}?change=delete`)).status).toBe(400);
});
