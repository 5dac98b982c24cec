/**
 * XML of strangers → a tree with places. Document types are refused, so there is nothing to expand or to fetch: the
 * only entities are the five predefined ones and character references.
 */
import sax from "sax";
import { type Place, TakeoverError } from "./findings.ts";

export interface XmlElement {
  /** As written, with its prefix. */
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly XmlElement[];
  /** The character data of the element itself, that of its children left out. */
  readonly text: string;
  readonly place: Place;
}

/** An export of a forest with a large schema has 5 MB and 100,000 elements; MIM's policy.xml several times that. */
export const xmlLimits = { lengthMax: 64 * 1024 * 1024, elementsMax: 2_000_000, depthMax: 64 };

/** strictEntities, which the type declarations lack: the five predefined names, not those of HTML. */
const parserOptions: sax.SAXOptions & { readonly strictEntities: boolean } = {
  strictEntities: true,
  position: true,
};

interface OpenElement {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: XmlElement[];
  text: string;
  readonly place: Place;
}

/**
 * @param origin where the text begins, when it is itself a value in a file: places are then those of that value
 * @throws TakeoverError for what is not well-formed, has a document type, or exceeds `xmlLimits`
 */
export function readXml(file: string, source: string, origin?: Place, limits = xmlLimits): XmlElement {
  // XML normalises line ends before anything else: https://www.w3.org/TR/xml/#sec-line-ends
  const text = source.replaceAll("\r\n", "\n");
  const parser = sax.parser(true, parserOptions);
  const lines = new LinePlaces(file, text);
  const place = (offset: number): Place => origin ?? lines.place(offset);
  const refuse = (message: string, at = place(parser.position)): never => {
    throw new TakeoverError(message, at);
  };
  const open: OpenElement[] = [];
  let root: XmlElement | undefined;
  let elements = 0;
  const addText = (more: string) => {
    const element = open.at(-1);
    if (element !== undefined) element.text += more;
  };

  if (text.length > limits.lengthMax) refuse(`The file is larger than ${limits.lengthMax} characters.`);
  parser.ondoctype = () => refuse("Document types are not accepted in an export.");
  parser.onerror = (error) => refuse(`This is not well-formed XML: ${firstLine(error.message)}.`);
  parser.onopentag = ({ name, attributes }) => {
    const start = place(parser.startTagPosition - 1);
    if (++elements > limits.elementsMax) refuse(`There are more than ${limits.elementsMax} elements.`);
    if (open.length >= limits.depthMax)
      refuse(`The elements are nested deeper than ${limits.depthMax} levels.`, start);
    if (open.length === 0 && root !== undefined) refuse("There is more than one root element.", start);
    open.push({
      name,
      attributes: attributes as Record<string, string>,
      children: [],
      text: "",
      place: start,
    });
  };
  parser.ontext = addText;
  parser.oncdata = addText;
  parser.onclosetag = () => {
    const element = open.pop()!;
    const parent = open.at(-1);
    if (parent === undefined) root = element;
    else parent.children.push(element);
  };
  parser.write(text).close();
  return root ?? refuse("There is no element in the file.");
}

/** Offsets in a text as lines and columns. */
class LinePlaces {
  readonly #file: string;
  readonly #starts = [0];

  constructor(file: string, text: string) {
    this.#file = file;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) this.#starts.push(at + 1);
  }

  place(offset: number): Place {
    let low = 0;
    let high = this.#starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle]! <= offset) low = middle;
      else high = middle;
    }
    return { file: this.#file, line: low + 1, column: Math.max(0, offset - this.#starts[low]!) + 1 };
  }
}

function firstLine(text: string): string {
  return text.split("\n")[0]!.replace(/\.$/, "");
}

/** The name without its prefix: exports choose prefixes freely (`dsml:class`, `ms-dsml:class`). */
export function localName(name: string): string {
  return name.slice(name.indexOf(":") + 1);
}

export function childrenNamed(element: XmlElement | undefined, name: string): readonly XmlElement[] {
  return element?.children.filter((child) => localName(child.name) === name) ?? [];
}

export function childNamed(element: XmlElement | undefined, name: string): XmlElement | undefined {
  return element?.children.find((child) => localName(child.name) === name);
}

/** The element at the end of a path of names. */
export function descend(
  element: XmlElement | undefined,
  ...names: readonly string[]
): XmlElement | undefined {
  return names.reduce<XmlElement | undefined>((at, name) => childNamed(at, name), element);
}

/** The text of the child; undefined when it is not there, "" when it is empty. */
export function textOf(element: XmlElement | undefined, ...names: readonly string[]): string | undefined {
  return descend(element, ...names)?.text;
}

/** An attribute, whatever its prefix. */
export function attributeOf(element: XmlElement, name: string): string | undefined {
  if (Object.hasOwn(element.attributes, name)) return element.attributes[name];
  return Object.entries(element.attributes).find(([known]) => localName(known) === name)?.[1];
}

/** The element as XML again, on one line; for what is kept as it stood in the export. */
export function printXml({ name, attributes, children, text }: XmlElement): string {
  const open = Object.entries(attributes).map(([key, value]) => ` ${key}="${escaped(value)}"`);
  const content =
    (text.trim() === "" && children.length > 0 ? "" : escaped(text)) + children.map(printXml).join("");
  return `<${name}${open.join("")}${content === "" ? "/>" : `>${content}</${name}>`}`;
}

function escaped(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
