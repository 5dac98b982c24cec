/** Names of exports in the form that our configuration has them, each only once and always the same. */

/** Letters, digits, - and _, at most 63, beginning with a letter or digit. */
export function slug(text: string): string {
  const plain = text
    .normalize("NFKD")
    .replace(/[^A-Za-z0-9_]+/g, "-")
    .replace(/^[-_]+|-+$/g, "")
    .slice(0, 63)
    .replace(/-+$/, "");
  return plain === "" ? "unnamed" : plain;
}

/** Gives every name once: the second `a` is `a-2` (or as `again` writes it). Case does not tell names apart. */
export class UniqueNames {
  readonly #taken = new Set<string>();

  take(
    name: string,
    again: (name: string, count: number) => string = (text, count) => `${text}-${count}`,
  ): string {
    let candidate = name;
    for (let count = 2; this.#taken.has(candidate.toLowerCase()); count++) candidate = again(name, count);
    this.#taken.add(candidate.toLowerCase());
    return candidate;
  }
}
