/**
 * Text search in time proportional to the lengths, whatever the texts: the built-in search takes their product at
 * worst, which rules over hostile data could turn into seconds.
 */

/** Up to here the built-in search is used; its worst case is this many times the text's length. */
const builtInLengthMax = 32;

/** As `text.indexOf(match, from)`. */
export function indexOf(text: string, match: string, from = 0): number {
  if (match.length <= builtInLengthMax) return text.indexOf(match, from);
  // Before the table of fallbacks is made: a list may hold many short texts, and the match be a long one.
  if (match.length > text.length - from) return -1;
  // Knuth, Morris and Pratt: where a mismatch continues.
  const fallback = new Int32Array(match.length);
  for (let i = 1, length = 0; i < match.length; i++) {
    while (length > 0 && match[i] !== match[length]) length = fallback[length - 1]!;
    if (match[i] === match[length]) length++;
    fallback[i] = length;
  }
  for (let i = Math.max(0, from), length = 0; i < text.length; i++) {
    while (length > 0 && text[i] !== match[length]) length = fallback[length - 1]!;
    if (text[i] === match[length]) length++;
    if (length === match.length) return i - length + 1;
  }
  return -1;
}

/** As `text.lastIndexOf(match)`. */
export function lastIndexOf(text: string, match: string): number {
  if (match.length <= builtInLengthMax) return text.lastIndexOf(match);
  const found = indexOf(reversed(text), reversed(match));
  return found < 0 ? -1 : text.length - found - match.length;
}

/** As `text.split(separator)`. */
export function splitBy(text: string, separator: string): string[] {
  if (separator.length <= builtInLengthMax) return text.split(separator);
  const parts: string[] = [];
  let start = 0;
  for (let at = indexOf(text, separator); at >= 0; at = indexOf(text, separator, start)) {
    parts.push(text.slice(start, at));
    start = at + separator.length;
  }
  parts.push(text.slice(start));
  return parts;
}

/** Whether a character is one of many, in time that does not grow with their number. */
export function oneOf(characters: string): (character: string) => boolean {
  if (characters.length <= builtInLengthMax) return (character) => characters.includes(character);
  const all = new Set(characters.split(""));
  return (character) => all.has(character);
}

function reversed(text: string): string {
  return text.split("").reverse().join("");
}
