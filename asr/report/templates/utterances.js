"use strict";
(() => {
  const table = document.getElementById("utterances");
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim(), number = Number(text);
    return text === "–" ? -Infinity : Number.isNaN(number) ? text : number;
  };
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const up = head.ariaSort === "descending";
    for (const other of heads) other.ariaSort = null;
    head.ariaSort = up ? "ascending" : "descending";
    const sign = up ? 1 : -1;
    rows.sort((a, b) => {
      const first = value(a, column), second = value(b, column);
      return sign * (first < second ? -1 : first > second ? 1 : 0);
    });
    body.append(...rows);
  }));
  const said = document.querySelector("[data-found=utterances]");
  document.querySelector("[data-searches=utterances]").addEventListener("input", (event) => {
    const wanted = event.target.value.toLocaleLowerCase();
    let found = 0;
    for (const row of rows) {
      row.hidden = !row.textContent.toLocaleLowerCase().includes(wanted);
      found += row.hidden ? 0 : 1;
    }
    said.textContent = wanted ? `${found} of ${rows.length}` : "";
  });
})();
