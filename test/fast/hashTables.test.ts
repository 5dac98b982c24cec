/** Tables of hashes by which imports and joins ask less: what they say is missing is missing. */
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { imageDigest, indexHash } from "../../src/engine/core/identity.ts";
import { dateTimeFromMs, reference } from "../../src/engine/core/values.ts";
import { DigestTable } from "../../src/engine/runs/digestTable.ts";
import { anchorHash } from "../../src/engine/stores/connectorSpaceRows.ts";
import { HashTable } from "../../src/engine/stores/hashTable.ts";
import { KeyFilter } from "../../src/engine/stores/keyFilter.ts";
import { anchorKey } from "../../src/engine/stores/seen.ts";

const numbers = Array.from({ length: 5_000 }, (_, number) => number);
const idOf = (number: number) => createHash("sha256").update(`${number}`).digest("hex").slice(0, 32);
const digestOf = (number: number) => anchorHash(`image ${number}`);

test("a table of hashes numbers its keys as they come, each once, however often it grows", () => {
  const table = new HashTable();
  const keys = numbers.map((number) => anchorKey(anchorHash(`${number}`)));
  expect(keys.map((key) => table.add(key))).toEqual(numbers);
  expect(keys.map((key) => table.add(key))).toEqual(numbers);
  expect(table.size).toBe(numbers.length);
  expect(keys.every((key, number) => Buffer.from(table.keyOf(number)).equals(key))).toBe(true);
  expect(table.find(anchorKey(anchorHash("another")))).toBe(-1);
});

test("the digest of an image is the one that stands in the tables of those who have it, in whatever order its values come", () => {
  const attributes = {
    sn: "Ñandú",
    accountEnabled: true,
    uSNCreated: 12n,
    big: 2n ** 60n,
    whenCreated: dateTimeFromMs(0),
    manager: reference("CN=Boss"),
    photo: new Uint8Array([1, 2, 3]),
    proxyAddresses: ["smtp:b@x", "SMTP:a@x"],
  };
  const image = { objectType: "user", dn: "CN=Zoë", attributes };
  expect(imageDigest(image)).toBe("76Ys5VNqT4Z3ws1LHexmoH");
  const { sn, proxyAddresses, ...others } = attributes;
  const turned = { ...others, proxyAddresses: proxyAddresses.toReversed(), sn };
  expect(imageDigest({ ...image, attributes: turned })).toBe("76Ys5VNqT4Z3ws1LHexmoH");
  expect(imageDigest({ ...image, attributes: others })).not.toBe("76Ys5VNqT4Z3ws1LHexmoH");
});

test("digests tell changed from unchanged, and what was not seen in the order of ids", () => {
  const digests = new DigestTable();
  for (const number of numbers)
    digests.add({
      id: idOf(number),
      anchorHash: anchorHash(`${number}`),
      digest: number === 2 ? "" : digestOf(number),
      gone: number % 100 === 7,
    });
  const unchanged = (number: number, digest = digestOf(number)) =>
    digests.isUnchanged(anchorHash(`${number}`), digest);
  expect(numbers.filter((number) => !unchanged(number))).toEqual([2]);
  expect(unchanged(1, digestOf(3))).toBe(false);
  expect(unchanged(5_000)).toBe(false);
  digests.lookAgain(anchorHash("4"));
  expect(numbers.filter((number) => !unchanged(number))).toEqual([2, 4]);
  expect(digests.get(anchorHash("107"))).toEqual({ id: idOf(107), gone: true });
  expect(digests.get(anchorHash("nobody"))).toBeUndefined();
  expect(digests.living).toBe(4_950);

  const seen = new HashTable();
  for (const number of numbers) if (number % 1_000 !== 9) seen.add(anchorKey(anchorHash(`${number}`)));
  const missing = [9, 1_009, 2_009, 3_009, 4_009].map((number) => ({ id: idOf(number), gone: false }));
  expect(digests.missing(seen)).toEqual(missing.toSorted((a, b) => (a.id < b.id ? -1 : 1)));
});

test("a filter knows all that it was told, and little else, with more keys than it was made for too", () => {
  const filter = new KeyFilter(numbers.length);
  const hash = (number: number) => indexHash("mail", `${number}@example.org`);
  for (const number of numbers) filter.add(hash(number));
  expect(numbers.every((number) => filter.mayHave(hash(number)))).toBe(true);
  expect(numbers.filter((number) => filter.mayHave(hash(number + 5_000))).length).toBeLessThan(50);
  const crowded = new KeyFilter(10);
  for (const number of numbers) crowded.add(hash(number));
  expect(numbers.every((number) => crowded.mayHave(hash(number)))).toBe(true);
});
