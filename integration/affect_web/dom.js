// @ts-check
/** Finding the page's own elements. */

/**
 * Return the element with an id, of the kind that is expected.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new TypeError(`the page lacks #${id}`);
  return found;
}

/**
 * Return the element with an id.
 * @param {string} id
 */
export function part(id) {
  return byId(id, HTMLElement);
}
