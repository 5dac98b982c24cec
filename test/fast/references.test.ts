import { describe, expect, test } from "vitest";
import { newConnectorSpaceObject } from "../../src/engine/core/model.ts";
import { ledOn, referredBy, withLinkMoved } from "../../src/engine/core/references.ts";
import { type AttributeValue, reference } from "../../src/engine/core/values.ts";

const lead = (to: string) => ({ "CN=Bo": "bo", "CN=Cy": "cy", "CN=Bo Too": "bo" })[to] ?? null;

test.each<[string, AttributeValue | undefined, AttributeValue | undefined]>([
  ["a single one", reference("CN=Bo"), reference("bo")],
  ["one that leads nowhere is no value", reference("CN=Nobody"), undefined],
  ["those of a list that lead somewhere", [reference("CN=Bo"), reference("CN=Nobody")], [reference("bo")]],
  ["a list of which none does", [reference("CN=Nobody")], undefined],
  ["two that lead to one", [reference("CN=Bo"), reference("CN=Bo Too")], [reference("bo")]],
  ["other values as they are", ["CN=Bo", 5n], ["CN=Bo", 5n]],
  ["nothing", undefined, undefined],
])("references are led on: %s", (_, value, led) => {
  expect(ledOn(value, lead)).toEqual(led);
});

test("each object that is referred to counts once", () => {
  expect([
    ...referredBy([reference("CN=Bo"), [reference("CN=Bo"), reference("CN=Cy")], "CN=X", undefined]),
  ]).toEqual(["CN=Bo", "CN=Cy"]);
});

describe("what a directory does to links of its own accord", () => {
  const image = (manager: AttributeValue | undefined) => ({
    objectType: "user",
    dn: "CN=Ann",
    attributes: { cn: "Ann", ...(manager !== undefined && { manager }) },
  });
  const ann = newConnectorSpaceObject({
    id: "1",
    connector: "ADMA",
    objectType: "user",
    anchor: "a",
    dn: "CN=Ann",
    synchronized: image(reference("CN=Bo,DC=x")),
    metaverseId: "2",
  });

  test("a rename leaves nothing to synchronise: the link is the same", () => {
    expect(withLinkMoved(ann, "cn=bo, dc=x", "CN=Bob,DC=x")).toEqual({
      ...ann,
      synchronized: image(reference("CN=Bob,DC=x")),
    });
  });

  test("a deletion takes the value away, which is an update to synchronise", () => {
    expect(withLinkMoved(ann, "CN=Bo,DC=x", null)).toEqual({
      ...ann,
      pendingImport: { change: "update", image: image(undefined) },
    });
  });

  test("a pending import is brought up to date too", () => {
    const pending = {
      ...ann,
      pendingImport: { change: "update" as const, image: image(reference("CN=Bo,DC=x")) },
    };
    expect(withLinkMoved(pending, "CN=Bo,DC=x", "CN=Bob,DC=x").pendingImport).toEqual({
      change: "update",
      image: image(reference("CN=Bob,DC=x")),
    });
    const gone = { ...ann, pendingImport: { change: "delete" as const, image: null } };
    expect(withLinkMoved(gone, "CN=Bo,DC=x", null)).toEqual(gone);
  });
});
