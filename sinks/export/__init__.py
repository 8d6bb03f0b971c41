"""Results files read again and written as what older programs take: text columns, images."""
