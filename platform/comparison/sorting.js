// A click on the head of a column sorts its table by it; a second one turns the order around. Missing numbers come last.
for (const head of all("th[data-sort]")) {
  head.tabIndex = 0;
  const sort = () => {
    const column = [...head.parentNode.children].indexOf(head);
    const numbers = head.dataset.sort === "number";
    // The largest number first, names from A to Z, unless that is how they are.
    const begin = numbers ? "descending" : "ascending";
    const turned = begin === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === begin ? turned : begin;
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const key = (row) => {
      const cell = row.children[column];
      const value = cell.dataset.value ?? cell.textContent.trim();
      return numbers ? Number.parseFloat(value) : value;
    };
    const compare = (first, second) => {
      const [a, b] = [key(first), key(second)];
      if (!numbers) return sign * a.localeCompare(b);
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return sign * (a - b);
    };
    const body = head.closest("table").tBodies[0];
    body.append(...[...body.rows].sort(compare));
  };
  head.addEventListener("click", sort);
  head.addEventListener("keydown", (event) => {
    if (event.key === "Enter") sort();
  });
}
