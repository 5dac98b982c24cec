/** What an administrator should know of a rule that was taken over, and where in the export it stands. */

/** 1-based, as editors count. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/**
 * `differs`: taken over, but Vestibule does something else with it. `decision`: somebody has to say what is meant; a
 * rule whose reach or values depend on the answer is taken over disabled. `remark`: worth knowing, nothing to do.
 */
export interface Finding {
  readonly kind: "differs" | "decision" | "remark";
  /** The rule, connector or metaverse type, by its name in the written files; the file's name for a whole file. */
  readonly about: string;
  readonly message: string;
  readonly place?: Place;
}

/** An export that cannot be read. The message names file, line and column. */
export class TakeoverError extends Error {
  readonly place: Place;

  constructor(message: string, place: Place) {
    super(`${describePlace(place)} ${message}`);
    this.name = "TakeoverError";
    this.place = place;
  }
}

export function describePlace({ file, line, column }: Place): string {
  return `${file}:${line}:${column}`;
}
