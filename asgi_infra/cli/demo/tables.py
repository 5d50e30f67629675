"""What the shop keeps in its database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

if TYPE_CHECKING:
    from asgi_infra.database import DatabaseSession

PRODUCTS: dict[str, dict[str, Any]] = {
    "tea": {"sku": "tea", "name": "Green tea, 100 g", "cents": 690, "stock": 300},
    "cup": {"sku": "cup", "name": "Stoneware cup", "cents": 1450, "stock": 200},
    "pot": {"sku": "pot", "name": "Cast-iron teapot", "cents": 5900, "stock": 100},
}
"""What is on the shelf when the shop opens."""


class Base(DeclarativeBase):
    """The shop's tables."""


class Product(Base):
    """Something to buy."""

    __tablename__ = "products"
    __table_args__ = (CheckConstraint("stock >= 0", "enough_stock"),)

    sku: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    cents: Mapped[int]
    stock: Mapped[int]

    def as_dict(self) -> dict[str, Any]:
        """Return what a customer gets to see."""
        return {"sku": self.sku, "name": self.name, "cents": self.cents, "stock": self.stock}


class Order(Base):
    """Something that was bought."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    cents: Mapped[int]


async def open_shelves(database: DatabaseSession) -> None:
    """Create the tables in an empty database, and put the products on the shelf."""
    async with database.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with database.session() as session:
        session.add_all(Product(**product) for product in PRODUCTS.values())
