/** What a pending export counts as, what a refusal makes of it, limits, and the order of a plan. */
import { describe, expect, test } from "vitest";
import { retried } from "../../src/engine/core/byHand.ts";
import { afterExport, escrowed, exportKind, resting } from "../../src/engine/core/exporting.ts";
import { inExportOrder, plannedChange } from "../../src/engine/core/exportOrder.ts";
import { FlowError } from "../../src/engine/core/flow.ts";
import { exceededExportLimit } from "../../src/engine/core/limits.ts";
import {
  type AttributeChange,
  type ConnectorSpaceObject,
  newConnectorSpaceObject,
  type PendingExport,
} from "../../src/engine/core/model.ts";
import { withoutErrorOf } from "../../src/engine/core/objectErrors.ts";
import { defaultLimits } from "../../src/engine/core/readConnectors.ts";
import { decideStaging } from "../../src/engine/core/staging.ts";
import { synchronizationError } from "../../src/engine/core/synchronize.ts";
import { type AttributeValue, reference } from "../../src/engine/core/values.ts";

const change = (name: string, before?: AttributeValue, after?: AttributeValue): AttributeChange => ({
  name,
  ...(before !== undefined && { before }),
  ...(after !== undefined && { after }),
  rule: "r",
});

function pending(
  what: PendingExport["change"],
  attributes: readonly AttributeChange[] = [],
  newDn?: string,
): PendingExport {
  return { change: what, attributes, reason: "because", ...(newDn !== undefined && { newDn }) };
}

function account(id: string, known: Partial<ConnectorSpaceObject> = {}): ConnectorSpaceObject {
  const dn = `CN=${id},OU=Guests`;
  return newConnectorSpaceObject({
    ...{ id, connector: "ADMA", objectType: "user", anchor: `guid-${id}`, dn },
    metaverseId: `person-${id}`,
    exported: true,
    ...known,
  });
}

describe("a change counts as", () => {
  const disable = change("userAccountControl", 512n, 514n);
  const enable = change("userAccountControl", 514n, 512n);
  const mail = change("mail", undefined, "a@example.org");
  test.each([
    ["add", pending("add", [disable]), false],
    ["delete", pending("delete"), false],
    ["update", pending("update", [mail]), true],
    ["rename", pending("update", [mail], "CN=b"), true],
    ["enable", pending("update", [mail, enable], "CN=b"), true],
    ["disable", pending("update", [mail, disable], "CN=b"), true],
    ["disable", pending("update", [change("accountEnabled", true, false)]), true],
    ["update", pending("update", [change("userAccountControl", 512n, 66048n)]), true],
    ["adopt", pending("update", [mail], "CN=b"), false],
    ["adopt", pending("update", [enable]), false],
    ["disable", pending("update", [disable]), false],
  ])("%s", (kind, what, exported) => {
    expect(exportKind({ exported }, what)).toBe(kind);
  });
});

describe("a refused change", () => {
  const retries = { delayMs: 60_000, delayMaxMs: 300_000, quarantineAfter: 7 };
  const minute = (count: number) => new Date(Date.UTC(2026, 0, 1, 0, count)).toISOString();
  const refuse = (object: ConnectorSpaceObject, now: string) =>
    afterExport(
      escrowed(object, "run"),
      { kind: "failed", code: "constraint-violation", message: "no" },
      { schemas: [], retries, now },
    ).object;

  test("waits from the third refusal on, twice as long each time up to the most, then is quarantined", () => {
    let object = account("a", { pendingExport: pending("update", [change("mail", undefined, "x")]) });
    const waits = Array.from({ length: 7 }, () => {
      object = refuse(object, minute(0));
      const { retry } = object.error!;
      return retry === undefined
        ? 0
        : retry.at === null
          ? null
          : (Date.parse(retry.at) - Date.parse(minute(0))) / 60_000;
    });
    expect(waits).toEqual([0, 0, 1, 2, 4, 5, null]);
    expect(object.error).toMatchObject({ retryCount: 6, firstOccurred: minute(0) });
    expect(object.pendingExport).toEqual(pending("update", [change("mail", undefined, "x")]));
  });

  test("rests until its time, unless what is wanted has changed or its outcome is unknown", () => {
    let object = account("a", { pendingExport: pending("update", [change("mail", undefined, "x")]) });
    for (let count = 0; count < 3; count++) object = refuse(object, minute(0));
    expect([resting(object, minute(0)), resting(object, minute(1))]).toEqual([true, false]);
    const other = pending("update", [change("mail", undefined, "y")]);
    expect(resting({ ...object, pendingExport: other }, minute(0))).toBe(false);
    expect(resting(escrowed(object, "run"), minute(0))).toBe(false);
    const sent = afterExport(
      escrowed(object, "run"),
      { kind: "exported", anchor: "guid-a", dn: object.dn },
      { schemas: [], retries, now: minute(1) },
    ).object;
    expect(sent).toMatchObject({ error: null, pendingExport: null, exported: true });
  });

  test("stays quarantined while other work fails with its object, and shows again when that is mended", () => {
    let object = account("a", { pendingExport: pending("update", [change("mail", undefined, "x")]) });
    for (let count = 0; count < 7; count++) object = refuse(object, minute(0));
    const refused = object.error!;
    const failing = (one: ConnectorSpaceObject): ConnectorSpaceObject => ({
      ...one,
      error: synchronizationError(one, new FlowError("flow-failed", "no", "a rule"), minute(1)),
    });
    const failed = failing(failing(object));
    expect(failed.error).toMatchObject({ phase: "synchronization", retryCount: 1 });
    expect(resting(failed, minute(9))).toBe(true);
    expect(withoutErrorOf(failed.error, "synchronization")).toEqual(refused);
    const image = { objectType: "user", dn: failed.dn, attributes: {} };
    const exported = { change: "update", expected: { sn: "Lee" } } as const;
    const imported = decideStaging(
      { ...failed, unconfirmed: exported },
      { kind: "object", anchor: failed.anchor!, image },
      { connector: "ADMA", now: minute(2), retainMs: null, schemas: [], inScope: () => true },
    );
    const seen = (imported as Extract<typeof imported, { kind: "write" }>).object;
    expect(seen.error).toMatchObject({ phase: "import", code: "exported-change-not-reimported" });
    expect(resting(seen, minute(9))).toBe(true);
    expect(refuse(seen, minute(9)).error).toMatchObject({ retryCount: 7, firstOccurred: minute(0) });
    expect(retried(seen).error).not.toHaveProperty("refusal");
    expect(resting(retried(seen), minute(9))).toBe(false);
    const sent = afterExport(
      escrowed(seen, "run"),
      { kind: "exported", anchor: seen.anchor!, dn: seen.dn },
      { schemas: [], retries, now: minute(9) },
    ).object;
    expect(sent.error).toMatchObject({ phase: "import" });
    expect(sent.error).not.toHaveProperty("refusal");
  });
});

describe("a limit", () => {
  const limits = {
    ...defaultLimits,
    export: {
      ...defaultLimits.export,
      update: { count: 2, percent: null },
      add: { count: null, percent: 10 },
    },
  };
  const ask = (planned: Record<string, number>, recent: Record<string, number>, connected: number) =>
    exceededExportLimit("ADMA", limits, planned, recent, connected)?.status ?? null;

  test.each([
    ["is what may just be reached", { delete: 4 }, {}, 40, null],
    ["is broken by one more", { delete: 5 }, {}, 40, "stopped-deletion-threshold-exceeded"],
    ["counts the last 24 hours", { delete: 1 }, { delete: 4 }, 40, "stopped-deletion-threshold-exceeded"],
    ["is not broken by what is not planned", { add: 1 }, { delete: 9 }, 40, null],
    ["in percent applies from 20 objects on", { disable: 19 }, {}, 19, null],
    ["in percent applies to 20", { disable: 3 }, {}, 20, "stopped-disable-threshold-exceeded"],
    ["absolute applies always", { disable: 501 }, {}, 100_000, "stopped-disable-threshold-exceeded"],
    [
      "of deletes is told before that of disables",
      { disable: 9, delete: 9 },
      {},
      40,
      "stopped-deletion-threshold-exceeded",
    ],
    [
      "of updates counts adopting and enabling",
      { adopt: 1, enable: 1, update: 1 },
      {},
      9,
      "stopped-update-threshold-exceeded",
    ],
    ["in percent never stops adds into an empty space", { add: 100 }, {}, 0, null],
    ["is there only where somebody has set it", { rename: 9999 }, {}, 9999, null],
  ])("%s", (_, planned, recent, connected, status) => {
    expect(ask(planned, recent, connected)).toBe(status);
  });
});

describe("the order of a plan", () => {
  const orderOf = (...objects: ConnectorSpaceObject[]) =>
    inExportOrder(objects.map((object) => plannedChange(object, object.pendingExport!)));
  const add = (id: string, ...refersTo: string[]) =>
    account(id, {
      pendingExport: pending("add", [
        change("sn", undefined, "x"),
        ...(refersTo.length === 0
          ? []
          : [
              change(
                "manager",
                undefined,
                refersTo.map((other) => reference(`CN=${other},OU=Guests`)),
              ),
            ]),
      ]),
    });

  test("is adds, changes, deletes, whatever order they are found in", () => {
    const objects = [
      account("c", { pendingExport: pending("delete") }),
      account("b", { pendingExport: pending("update", [change("mail", undefined, "x")]) }),
      add("d"),
      add("a"),
    ];
    const ids = orderOf(...objects).map(({ id }) => id);
    expect(ids).toEqual(["a", "d", "b", "c"]);
    expect(orderOf(...objects.toReversed()).map(({ id }) => id)).toEqual(ids);
  });

  test("adds what is referred to before what refers to it, containers before their content", () => {
    const container = { ...add("z"), dn: "OU=Guests" };
    expect(orderOf(add("a", "b"), add("b", "c"), add("c"), container).map(({ id }) => id)).toEqual([
      ...["z", "c", "b", "a"],
    ]);
  });

  test("sends a reference later where two adds refer to each other", () => {
    const [first, second] = orderOf(add("a", "b"), add("b", "a"));
    expect([first, second]).toEqual([
      expect.objectContaining({ id: "b", without: ["manager"] }),
      expect.not.objectContaining({ without: expect.anything() }),
    ]);
    const sent = afterExport(
      escrowed(add("b", "a"), "run"),
      { kind: "exported", anchor: "guid-b", dn: "CN=b,OU=Guests" },
      {
        schemas: [],
        retries: { delayMs: 1, delayMaxMs: 1, quarantineAfter: 1 },
        now: "2026-01-01T00:00:00.000Z",
        without: first!.without!,
      },
    ).object;
    expect(sent.unconfirmed?.expected).toEqual({ sn: "x" });
    expect(sent.pendingExport).toMatchObject({ change: "update", attributes: [{ name: "manager" }] });
  });

  test("deletes what is in a container before the container", () => {
    const gone = (id: string, dn: string) => account(id, { dn, pendingExport: pending("delete") });
    expect(
      orderOf(
        gone("a", "OU=Guests,DC=corp"),
        gone("b", "OU=Inner,OU=Guests,DC=corp"),
        gone("c", "CN=x,OU=Inner,OU=Guests,DC=corp"),
      ).map(({ id }) => id),
    ).toEqual(["c", "b", "a"]);
  });

  test("gives names up before others want them; only what needs nothing of another has the same rank", () => {
    const object = (id: string, what: PendingExport) => account(id, { pendingExport: what });
    const items = orderOf(
      object("1-deleted", pending("delete")),
      add("2-refers", "3-manager"),
      add("3-manager"),
      object("4-takes", pending("update", [change("userPrincipalName", undefined, "a@b")])),
      object("5-gives", pending("update", [change("userPrincipalName", "a@b")])),
      object("6-renamed", pending("update", [change("userPrincipalName", "b@b", "c@b")])),
    );
    expect(items.map(({ id, rank }) => `${rank} ${id}`)).toEqual([
      "0 5-gives",
      "0 6-renamed",
      "1 3-manager",
      "2 2-refers",
      "3 4-takes",
      "4 1-deleted",
    ]);
  });
});
