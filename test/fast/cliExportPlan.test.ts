/** An export plan as a table, as a page and as a spreadsheet. */
import { createHash } from "node:crypto";
import { Script } from "node:vm";
import { expect, test } from "vitest";
import { type ConnectorSpaceObject, describeObject } from "../../cli/describe.ts";
import { describePlan, type ExportPlan, planCsv } from "../../cli/exportPlan.ts";
import { planPage } from "../../cli/planPage.ts";

const hostile = `"><script>alert(1)</script><img src=x onerror='alert(2)'>`;
const plan: ExportPlan = {
  connector: "ADMA",
  hash: "ab".repeat(32),
  state: "held",
  createdAt: "2026-01-01T00:00:00.000Z",
  expiresAt: "2026-01-02T00:00:00.000Z",
  counts: { add: 1, adopt: 0, update: 1, rename: 0, enable: 0, disable: 0, delete: 1 },
  onHold: [],
  items: [
    {
      ...{
        id: "1",
        anchor: null,
        dn: `CN=${hostile}`,
        change: "add",
        reason: "Provisioned by rule AD-B2B-OUT.",
      },
      attributes: [
        { name: "displayName", before: null, after: hostile, rule: hostile },
        { name: "otherMailbox", before: null, after: ["=HYPERLINK(1)", "b,\u001b[31m"], rule: "r" },
      ],
    },
    {
      ...{
        id: "2",
        anchor: "guid-2",
        dn: "CN=bob",
        newDn: "CN=\u202ebob",
        change: "update",
        reason: hostile,
      },
      attributes: [
        { name: "info", before: "=cmd|' /C calc'!A0", after: null, rule: "r" },
        { name: "userAccountControl", before: 512, after: -514, rule: "r" },
      ],
    },
    {
      id: "3",
      anchor: "guid-3",
      dn: "CN=eve",
      change: "delete",
      reason: "Its person is gone.",
      attributes: [],
    },
  ],
};
const held = {
  status: "stopped-deletion-threshold-exceeded",
  detail: `9 pending exports of kind delete. ${hostile}`,
  since: "2026-01-01T00:00:00.000Z",
  runId: "r1",
};

test("in the page no value is more than text, and nothing but its own script and style can run", () => {
  const page = planPage({ plan, held });
  expect(page.match(/<script/g)).toHaveLength(1);
  expect(page).not.toMatch(/<img|onerror='|https?:|src=(?!x onerror=&#39;)/);
  expect(page).toContain("&lt;script&gt;alert(1)&lt;/script&gt;");
  expect(page).toContain('CN=<span class="odd">U+202E</span>bob');
  const [, script] = /<script>(.*?)<\/script>/s.exec(page)!;
  const [, style] = /<style>(.*?)<\/style>/s.exec(page)!;
  for (const text of [script!, style!])
    expect(page).toContain(`'sha256-${createHash("sha256").update(text).digest("base64")}'`);
  expect(() => new Script(script!)).not.toThrow();
  expect(page.match(/<tr class="(add|update|delete)">/g)).toHaveLength(3);
  expect(page).toContain(`vestibule approve ADMA ${plan.hash}`);
});

test("in the spreadsheet nothing is a formula, and numbers stay numbers", () => {
  const csv = planCsv(plan);
  expect(csv).toContain(`"'=HYPERLINK(1)\nb,\ufffd[31m"`);
  expect(csv).toContain(`info,'=cmd|' /C calc'!A0,,r`);
  expect(csv).toContain("userAccountControl,512,-514,r");
  expect(csv.startsWith("\ufeffchange,dn,anchor,attribute,before,after,rule,reason\r\n")).toBe(true);
  expect(csv).toContain("delete,CN=eve,guid-3,,,,,Its person is gone.\r\n");
});

test("on the terminal every attribute has its line, and the way to approve stands below", () => {
  const text = describePlan({ plan, held });
  expect(text).toContain("add 1, update 1, delete 1");
  expect(text).toContain("9 pending exports of kind delete");
  expect(text).not.toContain("\u001b[31m");
  expect(text.split("\n").at(-1)).toBe(`To export exactly this: approve ADMA ${plan.hash} --why "…"`);
  expect(describePlan({ plan: { ...plan, state: "done", items: [] }, held: null })).toBe(
    "Nothing is pending for ADMA.",
  );
});

test("what waits because somebody is on hold is told beside the plan, also when nothing else is pending", () => {
  const hold = {
    ...{ metaverseId: "m1", why: `Legal has asked. ${hostile}`, by: "ann" },
    ...{ since: "2026-01-01T00:00:00.000Z", until: null },
  };
  const onHold = [{ dn: "CN=carl", change: "delete", hold }];
  const done = { ...plan, state: "done", expiresAt: null, items: [], counts: {} };
  for (const shown of [
    { ...plan, onHold },
    { ...done, onHold },
  ]) {
    const text = describePlan({ plan: shown, held: null });
    expect(text).toContain("no part of the plan");
    for (const part of ["CN=carl", "Legal has asked.", "by ann"]) expect(text).toContain(part);
    const page = planPage({ plan: shown, held: null });
    expect(page).toContain("<bdi>CN=carl</bdi>: m1 is on hold since");
    expect(page.match(/<script/g)).toHaveLength(1);
  }
  expect(describePlan({ plan: done, held: null })).toBe("Nothing is pending for ADMA.");
});

test("an object tells that it is on hold, and of a disable by hand that is kept", () => {
  const none = {
    ...{ synchronized: null, pendingImport: null, pendingExport: null, escrowedExport: null },
    unconfirmedExport: null,
  };
  const object: ConnectorSpaceObject = {
    ...{
      connector: "ADMA",
      id: "1",
      objectType: "user",
      anchor: "guid-1",
      dn: "CN=carl",
      state: "connector",
    },
    ...{ metaverseId: "m1", pendingImport: null, pendingExport: "delete", unconfirmedExport: null },
    ...{ errorCode: null, error: null, absence: null, tower: none, held: ["userAccountControl"] },
    hold: { metaverseId: "m1", why: "Legal.", by: "ann", since: "2026-01-01T00:00:00.000Z", until: null },
  };
  const text = describeObject(object);
  expect(text).toContain("m1 is on hold since 2026-01-01 00:00:00 UTC, until it is released, by ann: Legal.");
  expect(text).toMatch(/kept so.*userAccountControl/);
});
