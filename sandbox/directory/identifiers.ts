/** GUIDs, security identifiers and times in the forms that Active Directory stores and shows. */

/** The text form of a GUID in lower case, or undefined: `xxxxxxxx-xxxx-…` or its 16 stored bytes in hex. */
export function parseGuid(text: string): string | undefined {
  const lower = text.toLowerCase();
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(lower)) return lower;
  return /^[0-9a-f]{32}$/.test(lower) ? guidFromBytes(Buffer.from(lower, "hex")) : undefined;
}

/** The 16 bytes of objectGUID: the first three groups are stored low byte first. */
export function guidToBytes(guid: string): Buffer {
  const bytes = Buffer.from(guid.replaceAll("-", ""), "hex");
  bytes.subarray(0, 4).reverse();
  bytes.subarray(4, 6).reverse();
  bytes.subarray(6, 8).reverse();
  return bytes;
}

export function guidFromBytes(bytes: Uint8Array): string {
  const swapped = Buffer.from(bytes);
  swapped.subarray(0, 4).reverse();
  swapped.subarray(4, 6).reverse();
  swapped.subarray(6, 8).reverse();
  return swapped.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** `S-1-5-21-…` as bytes, or undefined ([MS-DTYP] 2.4.2.2). */
export function sidToBytes(sid: string): Buffer | undefined {
  const parts = /^S-1-(\d+)((?:-\d+)+)$/i.exec(sid);
  if (parts === null) return undefined;
  const subAuthorities = parts[2]!.slice(1).split("-").map(Number);
  if (subAuthorities.length > 15 || subAuthorities.some((part) => part > 0xffffffff)) return undefined;
  const bytes = Buffer.alloc(8 + 4 * subAuthorities.length);
  bytes[0] = 1;
  bytes[1] = subAuthorities.length;
  bytes.writeUIntBE(Number(parts[1]), 2, 6);
  subAuthorities.forEach((part, i) => {
    bytes.writeUInt32LE(part, 8 + 4 * i);
  });
  return bytes;
}

/** `YYYYMMDDhhmmss.0Z` of a time in milliseconds since 1970. */
export function generalizedTime(ms: number): string {
  return `${new Date(ms).toISOString().replace(/[-:T]/g, "").slice(0, 14)}.0Z`;
}

/** FILETIME, in 100 ns since 1601, of a time in milliseconds since 1970. */
export function fileTime(ms: number): string {
  return String((BigInt(ms) + 11_644_473_600_000n) * 10_000n);
}
