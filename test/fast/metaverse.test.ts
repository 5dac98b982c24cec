import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Contribution } from "../../src/engine/core/inbound.ts";
import { decideDeletion, decideRevival, reduceContributions } from "../../src/engine/core/metaverse.ts";
import type { AttributeValue } from "../../src/engine/core/values.ts";

const now = "2026-01-02T00:00:00.000Z";

function offer(
  value: AttributeValue | null,
  precedence: number,
  more: Partial<Contribution> = {},
): Contribution {
  return {
    attribute: "mail",
    connector: `c${precedence}`,
    object: `0${precedence}`,
    rule: `r${precedence}`,
    precedence,
    offer: value === null ? "authoritativeNull" : { value },
    mergeType: "update",
    ...more,
  };
}
const reducedTo = (...contributions: Contribution[]) =>
  reduceContributions(contributions, {}, now).mail?.value;

describe("reducing contributions", () => {
  test("the lowest precedence wins, and the lineage says which rule", () => {
    expect(reduceContributions([offer("b", 20), offer("a", 10)], {}, now)).toEqual({
      mail: { value: "a", connector: "c10", rule: "r10", precedence: 10, since: now },
    });
  });
  test("AuthoritativeNull stops those below it, and not those above", () => {
    expect(reducedTo(offer(null, 10), offer("b", 20))).toBeUndefined();
    expect(reducedTo(offer("a", 5), offer(null, 10), offer("b", 20))).toBe("a");
  });
  test("merging collects the values of all, by the letter or not", () => {
    const merge = (mergeType: "merge" | "mergeCaseInsensitive") =>
      reducedTo(offer(["a", "B"], 10, { mergeType }), offer(["b", "c"], 20, { mergeType }));
    expect(merge("merge")).toEqual(["a", "B", "b", "c"]);
    expect(merge("mergeCaseInsensitive")).toEqual(["a", "B", "c"]);
  });
  test("a value that stays has its old date, one that changes by a capital a new one", () => {
    const before = reduceContributions([offer("a", 10)], {}, "2026-01-01T00:00:00.000Z");
    expect(reduceContributions([offer("a", 20)], before, now).mail).toMatchObject({
      rule: "r20",
      since: "2026-01-01T00:00:00.000Z",
    });
    expect(reduceContributions([offer("A", 10)], before, now).mail!.since).toBe(now);
  });
  test("contributions may arrive in any order, and losing one recalls exactly its value", () => {
    const contribution = fc
      .record({
        attribute: fc.constantFrom("mail", "sn", "tags"),
        value: fc.option(fc.constantFrom("a", "b", "c"), { freq: 5 }),
        precedence: fc.nat(4),
        object: fc.nat(4),
      })
      .map(({ attribute, value, precedence, object }) =>
        offer(value, precedence, {
          attribute,
          object: `0${object}`,
          mergeType: attribute === "tags" ? "merge" : "update",
        }),
      );
    fc.assert(
      fc.property(
        fc
          .uniqueArray(contribution, {
            maxLength: 12,
            // A rule has one flow for an attribute of an object.
            selector: ({ attribute, rule, object }) => `${attribute} ${rule} ${object}`,
          })
          .chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }))),
        ([all, shuffled]) => {
          const reduced = reduceContributions(all, {}, now);
          expect(reduceContributions(shuffled, {}, now)).toEqual(reduced);
          // What the metaverse holds now has no say: only the contributions have.
          const lost = all.slice(1);
          expect(reduceContributions(lost, reduced, now)).toEqual(reduceContributions(lost, {}, now));
        },
      ),
    );
  });
});

describe("the deletion rule", () => {
  const hr = { connector: "hr", keepsAlive: true };
  const ad = { connector: "ad", keepsAlive: false };

  test("without connections the object goes, whatever the rule", () => {
    for (const kind of ["lastConnector", "lastProvisioningRule"] as const)
      expect(decideDeletion({ kind }, ["hr"], [])).not.toBeNull();
  });
  test("lastConnector: any connection keeps it", () => {
    expect(decideDeletion({ kind: "lastConnector" }, ["hr", "ad"], [ad])).toBeNull();
  });
  test("lastProvisioningRule: a joined target does not keep it", () => {
    expect(decideDeletion({ kind: "lastProvisioningRule" }, ["hr", "ad"], [hr, ad])).toBeNull();
    expect(decideDeletion({ kind: "lastProvisioningRule" }, ["hr", "ad"], [ad])).not.toBeNull();
  });
  test("anyOf: it goes with the object of a named connector, if there was one", () => {
    const rule = { kind: "anyOf", connectors: ["hr"] } as const;
    expect(decideDeletion(rule, ["hr", "ad"], [ad])).toBe("its object in hr is gone");
    expect(decideDeletion(rule, ["hr", "ad"], [hr])).toBeNull();
    expect(decideDeletion(rule, ["ad"], [ad])).toBeNull();
  });
  test("a tombstone comes back to life with what would have kept it alive", () => {
    const rule = { kind: "anyOf", connectors: ["hr"] } as const;
    expect(decideRevival(rule, [ad])).toBe(false);
    expect(decideRevival(rule, [ad, hr])).toBe(true);
    expect(decideRevival({ kind: "lastConnector" }, [ad])).toBe(false);
  });
});
