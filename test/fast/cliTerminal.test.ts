/** What guests have typed, or a directory has said, is nothing but text on the administrator's terminal. */
import { expect, test } from "vitest";
import type { Run } from "../../cli/api.ts";
import { describeAudit, describeHistory, describeHold } from "../../cli/describeHistory.ts";
import { describeRulesDiff } from "../../cli/describeRulesDiff.ts";
import { describeRun, printable, printableAll } from "../../cli/print.ts";

const hostile = "\u001b[2J\u001b]0;title\u0007\r\u009b31m\u202egnp.exe";
const deceiving = /[^\P{Cc}\n]|[\u202a-\u202e\u2066-\u2069]/u;
const at = "2026-01-01T00:00:00.000Z";
const attribute = { name: hostile, before: hostile, after: [hostile, { $ref: hostile }], rule: hostile };

const answers = {
  history: () =>
    describeHistory(
      printableAll([
        {
          at,
          kind: "changed",
          runId: null,
          message: hostile,
          attributes: [attribute],
          who: hostile,
          why: hostile,
        },
      ]),
    ),
  hold: () =>
    describeHold(printableAll({ metaverseId: hostile, why: hostile, by: hostile, since: at, until: null })),
  audit: () =>
    describeAudit(
      printableAll([{ at, who: hostile, what: hostile, about: { [hostile]: hostile }, why: hostile }]),
    ),
  "comparison of rules": () =>
    describeRulesDiff(
      printableAll({
        runId: "r",
        status: "success",
        counts: { ADMA: { update: 1 } },
        items: [
          {
            connector: "ADMA",
            id: "1",
            dn: hostile,
            newDn: hostile,
            change: "update",
            reason: hostile,
            attributes: [attribute],
          },
        ],
      }),
    ),
  run: () =>
    describeRun(
      printableAll({
        id: "r",
        cycle: null,
        trigger: "cli",
        status: "completed-export-errors",
        startedAt: at,
        endedAt: at,
        steps: [
          {
            number: 1,
            connector: "ADMA",
            profile: "Export",
            type: "export",
            status: "completed-export-errors",
            startedAt: at,
            endedAt: at,
            statistics: {},
            detail: hostile,
            errors: [{ code: "cd-error", dn: hostile, rule: hostile, attribute: hostile, message: hostile }],
          },
        ],
      } as Run),
    ),
};

test.each(Object.entries(answers))("the %s", (_, describe) => {
  const text = describe();
  expect(text).toContain("gnp.exe");
  expect(text).not.toMatch(deceiving);
});

test("lines stay lines where there may be several, and every other text stays as it is", () => {
  expect(printableAll({ a: ["x\ny", 1, null, true], 'b"': "Ünïcode 漢字 עברית" })).toEqual({
    a: ["x\ny", 1, null, true],
    'b"': "Ünïcode 漢字 עברית",
  });
  expect(printable("x\ny")).toBe("x\ufffdy");
});
