import { describe, expect, test } from "vitest";
import {
  type ConnectorSpaceObject,
  type Image,
  newConnectorSpaceObject,
} from "../../src/engine/core/model.ts";
import { decideStaging, type StagingOptions } from "../../src/engine/core/staging.ts";

const options: StagingOptions = {
  connector: "hr",
  now: "2026-01-02T00:00:00.000Z",
  retainMs: null,
  schemas: [],
};
const retaining = { ...options, retainMs: 1000 };

function image(attributes: Image["attributes"] = { mail: "a@b" }, dn = "CN=a"): Image {
  return { objectType: "user", dn, attributes };
}
function there(shown: Image = image()) {
  return { kind: "object" as const, anchor: "1", image: shown };
}
const gone = { kind: "absent" as const, anchor: "1", absence: "softDeleted" as const };
function object(known: Partial<ConnectorSpaceObject> = {}): ConnectorSpaceObject {
  return newConnectorSpaceObject({
    id: "0a",
    connector: "hr",
    objectType: "user",
    anchor: "1",
    dn: "CN=a",
    synchronized: image(),
    metaverseId: "0m",
    ...known,
  });
}

describe("what an import shows", () => {
  test("an unknown object is a pending add", () => {
    expect(decideStaging(null, there(), options)).toMatchObject({
      kind: "write",
      counter: "stageAdd",
      object: {
        connector: "hr",
        anchor: "1",
        metaverseId: null,
        pendingImport: { change: "add", image: image() },
      },
    });
  });

  test("an object that looks as before is left alone", () => {
    expect(decideStaging(object(), there(), options)).toEqual({
      kind: "unchanged",
      counter: "stageNoChange",
    });
    const pending = object({ pendingImport: { change: "update", image: image({ mail: "c@d" }) } });
    expect(decideStaging(pending, there(image({ mail: "c@d" })), options).kind).toBe("unchanged");
  });

  test.each([
    ["a value", image({ mail: "c@d" }), "stageUpdate", "update"],
    ["capitals alone", image({ mail: "A@b" }), "stageUpdate", "update"],
    ["the name", image({ mail: "a@b" }, "CN=c"), "stageRename", "update"],
    ["the object type", { ...image(), objectType: "contact" }, "stageDeleteAdd", "deleteAdd"],
  ] as const)("a change of %s is staged", (_what, shown, counter, change) => {
    expect(decideStaging(object(), there(shown), options)).toMatchObject({
      counter,
      object: { pendingImport: { change, image: shown }, synchronized: image() },
    });
  });

  test("a change that is taken back before it was synchronised is looked at again", () => {
    const pending = object({ pendingImport: { change: "delete", image: null } });
    expect(decideStaging(pending, there(), options)).toMatchObject({
      object: { pendingImport: { change: "update", image: image() } },
    });
  });

  test("a provisioned object that is seen for the first time is a pending add", () => {
    const provisioned = object({ anchor: null, synchronized: null });
    expect(decideStaging(provisioned, there(), options)).toMatchObject({
      counter: "stageAdd",
      object: { id: "0a", anchor: "1", metaverseId: "0m", pendingImport: { change: "add" } },
    });
  });
});

describe("what an import no longer shows", () => {
  test("an unknown object is ignored", () => {
    expect(decideStaging(null, gone, options)).toEqual({ kind: "ignored" });
  });
  test("an object that was never synchronised vanishes", () => {
    const never = object({
      metaverseId: null,
      synchronized: null,
      pendingImport: { change: "add", image: image() },
    });
    expect(decideStaging(never, gone, options)).toMatchObject({ kind: "remove", counter: "stageDelete" });
    expect(decideStaging({ ...never, linking: "0m" }, gone, options)).toMatchObject({ kind: "write" });
  });
  test("a connected object is a pending delete, once", () => {
    const decision = decideStaging(object(), gone, options);
    expect(decision).toMatchObject({
      counter: "stageDelete",
      object: { pendingImport: { change: "delete", image: null } },
    });
    const again = decision.kind === "write" ? decideStaging(decision.object, gone, options) : null;
    expect(again).toEqual({ kind: "unchanged", counter: "stageNoChange" });
  });
  test("a connected object of a connector that retains becomes absent and keeps its last values", () => {
    const changed = object({ pendingImport: { change: "update", image: image({ mail: "new@b" }) } });
    const decision = decideStaging(changed, gone, retaining);
    expect(decision).toMatchObject({
      counter: "stageUpdate",
      object: {
        absence: { kind: "softDeleted", since: options.now },
        pendingImport: { change: "update", image: image({ mail: "new@b" }) },
      },
    });
    // Written once: purged later, it is still absent since then.
    const absent = decision.kind === "write" ? decision.object : object();
    expect(
      decideStaging(absent, { ...gone, absence: "deleted" }, { ...retaining, now: "2026-02-01T00:00:00Z" }),
    ).toEqual({
      kind: "unchanged",
      counter: "stageNoChange",
    });
    expect(decideStaging(absent, there(), retaining)).toMatchObject({
      counter: "stageUpdate",
      object: { absence: null, pendingImport: { change: "update", image: image() } },
    });
  });
  test("whoever was only out of scope and is deleted then is deleted, since the first absence", () => {
    const since = "2026-01-01T00:00:00.000Z";
    for (const kind of ["outOfScope", "notAllowed"] as const) {
      const away = object({ absence: { kind, since } });
      expect(decideStaging(away, gone, retaining)).toMatchObject({
        counter: "stageUpdate",
        object: { absence: { kind: "softDeleted", since }, pendingImport: { change: "update" } },
      });
      expect(decideStaging(away, { ...gone, absence: "outOfScope" }, retaining).kind).toBe("unchanged");
    }
  });
  test("the grace that a change of the rules has begun goes on when the source lets go too", () => {
    const since = "2026-01-01T00:00:00.000Z";
    const letGo = object({ absence: { kind: "outOfScope", since, byRules: true } });
    expect(decideStaging(letGo, gone, retaining)).toMatchObject({
      object: { absence: { kind: "softDeleted", since } },
    });
    // Whether the rules take it back is for the synchronisation.
    expect(decideStaging(letGo, there(image({ mail: "c@d" })), retaining)).toMatchObject({
      object: { absence: { kind: "outOfScope", since, byRules: true } },
    });
  });
  test("an unconnected object of such a connector is deleted as ever", () => {
    expect(decideStaging(object({ metaverseId: null }), gone, retaining)).toMatchObject({
      object: { pendingImport: { change: "delete" }, absence: null },
    });
  });
  test("leaving scope is absence too, with the last values that were in scope", () => {
    const inScope = (shown: Image) => shown.attributes.mail !== undefined;
    expect(decideStaging(object(), there(image({ sn: "x" })), { ...retaining, inScope })).toMatchObject({
      object: { absence: { kind: "outOfScope" }, pendingImport: { image: image() } },
    });
    expect(decideStaging(object(), there(image({ sn: "x" })), { ...options, inScope })).toMatchObject({
      object: { absence: null, pendingImport: { image: image({ sn: "x" }) } },
    });
  });
});

describe("confirmation", () => {
  const exported = object({ unconfirmed: { change: "update", expected: { mail: "New@b", sn: null } } });

  test("an export is confirmed by syntax, and forgotten", () => {
    expect(decideStaging(exported, there(image({ mail: "new@B" })), options)).toMatchObject({
      confirmation: "confirmed",
      error: null,
      object: { unconfirmed: null, error: null },
    });
  });
  test("a confirmation without a change of the image is written as no change", () => {
    const same = object({ unconfirmed: { change: "update", expected: { mail: "a@b" } } });
    expect(decideStaging(same, there(), options)).toMatchObject({
      kind: "write",
      counter: "stageNoChange",
      confirmation: "confirmed",
      object: { unconfirmed: null, pendingImport: null },
    });
  });
  test("another value is an error that names the attribute, and is synchronised again", () => {
    expect(decideStaging(exported, there(), options)).toMatchObject({
      confirmation: "notReimported",
      error: { phase: "import", code: "exported-change-not-reimported", attribute: "mail", retryCount: 0 },
      object: { unconfirmed: null, pendingImport: { change: "update", image: image() } },
    });
    const after = {
      ...exported,
      error: {
        phase: "import",
        code: "exported-change-not-reimported",
        message: "",
        firstOccurred: "2026-01-01T00:00:00Z",
        retryCount: 4,
      } as const,
    };
    expect(decideStaging(after, there(), options)).toMatchObject({
      error: { firstOccurred: "2026-01-01T00:00:00Z", retryCount: 5 },
    });
  });
  test("a deletion is confirmed by the absence, and unconfirmed by the object", () => {
    const deleted = object({ unconfirmed: { change: "delete", expected: {} } });
    expect(decideStaging(deleted, gone, retaining)).toMatchObject({
      confirmation: "confirmed",
      object: { pendingImport: { change: "delete" }, unconfirmed: null, absence: null },
    });
    expect(decideStaging({ ...deleted, metaverseId: null }, gone, options)).toMatchObject({ kind: "remove" });
    expect(decideStaging(deleted, there(), options)).toMatchObject({
      confirmation: "notReimported",
      object: { pendingImport: { change: "update" } },
    });
  });
});
