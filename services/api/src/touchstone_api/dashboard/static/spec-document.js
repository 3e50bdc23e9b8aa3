// A spec as JSON data: read from text, and values set by JSON pointer.

// Integers that a double cannot hold stay text; the api reads them as the numbers that they are.
export const parseSpec = (text) =>
  JSON.parse(text, (_, value, context) =>
    Number.isInteger(value) && !Number.isSafeInteger(value) ? (context?.source ?? value) : value);

export const tokensOf = (pointer) =>
  pointer.split("/").slice(1).map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));

// Pointers to what `before` says and `after` leaves out, of objects of one kind.
export function leftOut(before, after, pointer = "") {
  if (!isObject(before) || !isObject(after) || before.kind !== after.kind) return [];
  return Object.keys(before).flatMap((name) =>
    name in after ? leftOut(before[name], after[name], `${pointer}/${name}`) : [`${pointer}/${name}`]);
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

export function valueAt(document_, pointer) {
  return tokensOf(pointer).reduce((value, token) => value?.[token], document_);
}

// `undefined` removes, and an object that is empty then goes too.
export function setValue(document_, pointer, value) {
  const [first, ...rest] = tokensOf(pointer);
  if (rest.length > 0) {
    const inner = document_[first] ?? {};
    setValue(inner, `/${rest.join("/")}`, value);
    value = isObject(inner) && Object.keys(inner).length === 0 ? undefined : inner;
  }
  if (value === undefined) delete document_[first];
  else document_[first] = value;
}
